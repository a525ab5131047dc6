"""What a recipe says of itself; all that is the same for every recipe, the loop among it, asks it these questions.

Shapes: B cells, D width of an embedding. A batch is the loader's dict of tensors, on the device of the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from scdata import ShardDataset

from .config import TrainingConfig

Batch = Mapping[str, Any]
Marginals = dict[str, Tensor]
Predictor = Callable[[Batch], Tensor]
C = TypeVar("C", bound=TrainingConfig)


class Model(nn.Module, ABC):
    """A network that gives its own losses; `forward` and `embed` are the recipe's."""

    step = 0  # steps done so far, set by the loop

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Summed loss of each term (scalars), by the names of `Recipe.n_scored`."""

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """float32 (B, D): embeddings of the cells, nothing hidden that the batch does not hide."""

    def attended(self, batch: Batch) -> Tensor:
        """int64 (B, L): what `embed` attends over, as rows of the model's table of genes; rows that are no gene's elsewhere.

        Raises
        ------
        ValueError
            If what it attends over are no genes.
        """
        raise ValueError(f"{type(self).__name__} does not attend over genes: there is no attention between two of them")

    def after_step(self) -> None:
        """Called after each step of the optimizer, such as for a moving average of the weights."""

    def before_judging(self, batches: Iterable[Batch]) -> None:
        """Called with the batches that are about to be judged, such as for a baseline that depends on what was learned."""

    def watch(self, batch: Batch) -> dict[str, float]:
        """Numbers to be logged with each evaluation, from the first batch that is judged."""
        return {}


class Recipe(ABC, Generic[C]):
    """A training objective: what it asks the loader for, how its model is built, what predicts without one.

    Parameters
    ----------
    config
        The recipe's config.
    """

    title: ClassVar[str]
    unit: ClassVar[str]  # of the judged loss
    kinds: ClassVar[tuple[str, ...]]  # of values that it can learn from: ``[value] kind`` of a preset
    presets: ClassVar[tuple[str, ...]]  # some that have them, for error messages

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def loader(self) -> dict[str, Any]:
        """Options of `scdata.ShardDataset`: objective, output, columns, …; no batch size."""

    @abstractmethod
    def fit(self, train: ShardDataset) -> Marginals:
        """One pass over packed batches of the train split, whole cells, unshuffled: what outputs and baselines start from."""

    @abstractmethod
    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        """The model, untrained: it predicts what `marginals` say."""

    def rebuild(self, data: ShardDataset, saved: Mapping[str, Any]) -> Model:
        """The model of a checkpoint, before it gets its weights; `data` may be of another set, and as for embeddings."""
        return self.build(data, saved["marginals"])

    @abstractmethod
    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        """How many numbers each term of the loss is a sum over (scalars). The first term is the one that is judged."""

    def weights(self, marginals: Marginals) -> dict[str, float]:
        """Weight of each term in the loss, where it is not 1."""
        return {}

    @abstractmethod
    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        """Predictors without parameters, by name; each gives the summed loss (scalar) of the judged term, as `Model` does."""

    def other_baselines(self, marginals: Marginals, model: Model) -> dict[str, dict[str, Predictor]]:
        """The same for other terms of the loss, by their names."""
        return {}

    def fit_options(self) -> dict[str, Any]:
        """Options of the loader for `fit`."""
        return {"output": "packed"}

    def embed_options(self) -> dict[str, Any]:
        """Options of the loader for embeddings, where they differ; nothing is hidden then."""
        return {}

    def introduce(self, data: ShardDataset) -> str:
        """One sentence: what the model is asked."""
        return ""

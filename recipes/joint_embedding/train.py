"""Joint embedding: from a cell with hidden values, predict what an averaged model makes of the whole cell, as Cell-JEPA does.

    python recipes/joint_embedding/train.py --set pbmc.set --out run --max-minutes 5

Shapes in comments: B cells, L tokens of the longest, D width, V token ids, M masked tokens.
"""

import copy
import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from common import parallel  # noqa: E402
from common.baselines import gene_means  # noqa: E402
from common.blocks import Block, gene_embedding, summed_error, zeroed  # noqa: E402
from common.command import main  # noqa: E402
from common.config import TrainingConfig  # noqa: E402
from common.data import gene_tokens  # noqa: E402
from common.recipe import Batch, Marginals, Model, Predictor, Recipe  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from scdata import ShardDataset  # noqa: E402
from scdata.objectives import JointEmbedding, masked_attention  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """The keys of config.toml, which says what they mean."""

    masked: float
    momentum: float
    cosine_weight: float
    bins_weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shape("width", "layers", "heads")
        self.require_fraction("masked")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum}: expected a number from 0 and below 1")
        for name in ("cosine_weight", "bins_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more")


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Sum over rows of 1 − cosine, exact also where it is next to 0: half the squared distance of unit vectors."""
    return 0.5 * (F.normalize(a.float(), dim=-1) - F.normalize(b.float(), dim=-1)).square().sum()


def spread_of(n: Tensor, total: Tensor, squares: Tensor) -> dict[str, float]:
    """How different embeddings are, from their number, sum (D,), and sum of outer products (D, D), float64.

    Returns
    -------
    dict
        ``teacher_rank``: effective rank, the exponential of the entropy of the singular values of centred embeddings over
        their sum (Roy and Vetterli, "The effective rank", EUSIPCO 2007), 0 if all are the same; ``teacher_variance``: variance
        over cells, mean of the D dimensions.
    """
    mean = total / n
    variances = torch.linalg.eigvalsh(squares / n - torch.outer(mean, mean))
    # what float32 leaves of equal embeddings is no rank
    variances = torch.where(variances > 1e-10 * squares.trace() / n, variances, 0.0)
    shares = variances.sqrt() / variances.sqrt().sum().clamp(min=1e-30)
    rank = torch.exp(torch.special.entr(shares).sum()) if variances.any() else torch.zeros(())
    return {"teacher_rank": float(rank), "teacher_variance": float(variances.mean())}


class Encoder(nn.Module):
    """Genes and their bins as vectors, read without order; a bin enters as its distance from the mean of its gene."""

    def __init__(self, marginals: Marginals, is_gene: Tensor, config: Config) -> None:
        super().__init__()
        width, layers, heads = (config.shape[key] for key in ("width", "layers", "heads"))
        self.spread = float(marginals["spread"])
        self.register_buffer("mean", marginals["mean"])  # (V,)
        self.register_buffer("is_gene", is_gene)  # (V,)
        self.gene, self.norm = gene_embedding(len(is_gene), width), nn.LayerNorm(width)
        self.value = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width))
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # stands in for a value that is masked
        self.blocks = nn.ModuleList(Block(width, heads, config.dropout) for _ in range(layers))
        self.last_norm = nn.LayerNorm(width)

    def forward(self, token_ids: Tensor, values: Tensor, there: Tensor, masked: Tensor | None = None) -> Tensor:
        """(B, L, D); `there` bool (B, L): False at padding; `masked` bool (B, L): whose values are not looked at."""
        above = torch.where(self.is_gene[token_ids], (values.float() - self.mean[token_ids]) / self.spread, 0.0)
        value = self.value(above[..., None])
        if masked is None:
            attend = there[:, None, None]
        else:
            value = torch.where(masked[..., None], self.hidden.to(value.dtype), value)
            attend = masked_attention(there, masked)[:, None]
        x = self.norm(self.gene(token_ids)) + value
        for block in self.blocks:
            x = block(x, attend)
        return self.last_norm(x)


class JointEmbeddingModel(Model):
    """Cell-JEPA: student, teacher, predictor. The teacher is the student's moving average and reads the whole cell.

    Method: Cell-JEPA, arXiv 2602.02093: cell-level targets, no gradient into the teacher. Attention, predictor and the second
    loss, on the masked bins, are second-hand (the reimplementation thereecer13/VirtualCellJEPA).
    """

    def __init__(self, marginals: Marginals, is_gene: Tensor, config: Config) -> None:
        super().__init__()
        width = config.shape["width"]
        self.momentum = config.momentum
        self.student = Encoder(marginals, is_gene, config)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.predictor = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = zeroed(nn.Linear(width, 1))  # bins begin at the mean of the gene
        self.register_buffer(
            "mean_direction", torch.zeros(width), persistent=False
        )  # (D,) of the teacher, judged cells
        self.watched: dict[str, float] = {}

    def train(self, mode: bool = True) -> "JointEmbeddingModel":
        super().train(mode)
        self.teacher.eval()  # no dropout in targets
        return self

    def attended(self, batch: Batch) -> Tensor:
        return batch["token_ids"]

    @torch.no_grad()
    def embed(self, batch: Batch) -> Tensor:
        return self.teacher(batch["token_ids"], batch["values"], batch["attention_mask"])[:, 0].float()  # <cls>

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        ids, masked = batch["token_ids"], batch["masked"]
        x = self.student(ids, batch["masked_values"], batch["attention_mask"], masked)
        predicted = self.student.mean[ids] + self.student.spread * self.head(x).squeeze(-1).float()
        return {
            "cosine": distance(self.predictor(x[:, 0]), self.embed(batch)),
            "bins": summed_error(predicted, batch["values"].float(), masked),
        }

    @torch.no_grad()
    def after_step(self) -> None:
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)

    @torch.no_grad()
    def before_judging(self, batches: Iterable[Batch]) -> None:
        """The teacher's mean direction over the judged cells of all processes: no other constant is nearer to them."""
        width = len(self.mean_direction)
        n, direction, total, squares = (
            torch.zeros(shape, dtype=torch.float64, device=self.mean_direction.device)
            for shape in ((1,), (width,), (width,), (width, width))
        )
        for batch in batches:
            rows = self.embed(batch).double()
            n += len(rows)
            direction += F.normalize(rows, dim=-1).sum(0)
            total += rows.sum(0)
            squares += rows.T @ rows
        sizes = (1, width, width, width * width)
        sums = parallel.summed(torch.cat([part.flatten() for part in (n, direction, total, squares)]))
        n, direction, total, squares = sums.split(sizes)
        self.mean_direction.copy_(F.normalize(direction, dim=0))
        self.watched = spread_of(n, total, squares.view(width, width))

    def watch(self, batch: Batch) -> dict[str, float]:
        return self.watched


class CellJEPA(Recipe[Config]):
    title, unit = "Joint embedding", "1 - cosine"
    kinds, presets = ("quantile",), ("cell-jepa+fit", "scgpt+fit")

    def introduce(self, data: ShardDataset) -> str:
        return (
            f"{self.config.masked:.0%} of a cell's bins are hidden; predict the embedding that the moving average of the model "
            "gives to the whole cell, and the hidden bins."
        )

    def loader(self) -> dict[str, Any]:
        objective = JointEmbedding(rate=self.config.masked)
        return {"context_length": self.config.context_length, "objective": objective}

    def fit(self, train: ShardDataset) -> Marginals:
        return gene_means(train, gene_tokens(train))

    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        if "<cls>" not in data.vocab.specials:
            raise ValueError(
                f"{data.tokenizer.name!r} puts no <cls> before a cell, whose embedding it would be: use {self.presets[0]}"
            )
        return JointEmbeddingModel(marginals, gene_tokens(data), self.config)

    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        n = batch["masked"].sum()
        return {"cosine": torch.full_like(n, len(batch["masked"])), "bins": n}

    def weights(self, marginals: Marginals) -> dict[str, float]:
        return {"cosine": self.config.cosine_weight, "bins": self.config.bins_weight}

    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        """The constant next to the teacher's embeddings: a model level with it knows nothing of a cell (collapse)."""
        return {"constant": lambda batch: distance(model.mean_direction[None], model.embed(batch))}

    def other_baselines(self, marginals: Marginals, model: Model) -> dict[str, dict[str, Predictor]]:
        mean = marginals["mean"]

        def error(batch: Batch, prediction: Tensor) -> Tensor:
            return summed_error(prediction, batch["values"].float(), batch["masked"])

        def shifted(batch: Batch) -> Tensor:
            """The mean of the gene, shifted by how far the cell's visible genes are above theirs on average."""
            ids = batch["token_ids"]
            visible = batch["attention_mask"] & ~batch["masked"] & model.student.is_gene[ids]
            residual = torch.where(visible, batch["masked_values"].float() - mean[ids], 0.0)
            return error(batch, mean[ids] + (residual.sum(1) / visible.sum(1).clamp(min=1))[:, None])

        own = {"gene_mean": lambda batch: error(batch, mean[batch["token_ids"]]), "shifted_gene_mean": shifted}
        return {"bins": own}


STYLES: list[type[Recipe]] = [CellJEPA]

if __name__ == "__main__":
    main(__doc__, HERE, Config, STYLES)

"""Masked diffusion: hide any share of a cell's counts and ask for them, so that whole cells can be drawn, as Lingshu-Cell does.

    scdata fit pbmc.set
    python recipes/masked_diffusion/train.py --set pbmc.set --out run --max-minutes 5

Shapes in comments: B cells, G genes, K levels, D width, E width of a gene, P genes of a patch, N patches, M masked genes,
C condition columns.
"""

import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from common.blocks import RotaryBlock, SwiGLU, gene_embedding, zeroed  # noqa: E402
from common.command import main  # noqa: E402
from common.config import TrainingConfig  # noqa: E402
from common.levels import (  # noqa: E402
    N_DEPTHS,
    counts_of,
    depth_group,
    group_frequencies,
    level_frequencies,
    log_share,
)
from common.recipe import Batch, Marginals, Model, Predictor, Recipe  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from scdata import ShardDataset  # noqa: E402
from scdata.objectives import MaskedDiffusion  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """The keys of config.toml, which says what they mean."""

    conditions: tuple
    condition_dropout: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shape("width", "layers", "heads", "patch", "gene_width")
        if self.shape["width"] // self.shape["heads"] % 2:
            raise ValueError(
                f"[sizes.{self.size}]: width / heads = {self.shape['width'] // self.shape['heads']} is odd"
            )
        if not 0 <= self.condition_dropout < 1:
            raise ValueError(f"condition_dropout = {self.condition_dropout}: expected a number from 0 and below 1")
        if not all(isinstance(name, str) for name in self.conditions):
            raise ValueError(f"conditions = {list(self.conditions)}: expected names of obs columns")


class DiffusionModel(Model):
    """Levels of hidden genes from those of the others: genes, compressed by patches, through a bidirectional transformer.

    Method: Lingshu-Cell, arXiv 2603.25240. Its code was not at hand: patches of 32 genes, linearly compressed, RMSNorm, SwiGLU,
    RoPE, condition tokens in front, and no time given to the model are second-hand. Ours: a visible count also enters as its
    distance from the mean of its gene, and logits begin at the shares of the gene's levels, for the last layer begins at zero.
    """

    def __init__(self, marginals: Marginals, categories: dict[str, list[str]], config: Config) -> None:
        super().__init__()
        width, self.patch, gene_width = (config.shape[key] for key in ("width", "patch", "gene_width"))
        n_genes, self.n_levels = marginals["log_gene"].shape
        self.categories, self.condition_dropout = categories, config.condition_dropout
        self.register_buffer("log_gene", marginals["log_gene"])  # (G, K)
        self.register_buffer("counts", marginals["counts"])  # (K,)
        logs = (marginals["counts"].log1p() - marginals["mean_log"][:, None]) / marginals["std_log"][:, None]
        self.register_buffer("above", F.pad(logs, (0, 2)))  # (G, K + 2): 0 where hidden, and where not measured
        self.level, self.gene = gene_embedding(self.n_levels + 2, gene_width), nn.Embedding(n_genes, gene_width)
        self.slope = nn.Parameter(torch.randn(gene_width) * 0.2)
        # of each column: its values, null, and hidden
        self.condition = nn.ModuleList(gene_embedding(len(names) + 2, width) for names in categories.values())
        self.compress = nn.Linear(self.patch * gene_width, width)
        self.blocks = nn.ModuleList(
            RotaryBlock(width, config.shape["heads"], config.dropout) for _ in range(config.shape["layers"])
        )
        self.last_norm, self.expand = nn.RMSNorm(width), nn.Linear(width, self.patch * gene_width)
        self.norm, self.mix, self.head_norm = nn.RMSNorm(gene_width), SwiGLU(gene_width), nn.RMSNorm(gene_width)
        self.head = zeroed(nn.Linear(gene_width, self.n_levels))

    def get_extra_state(self) -> dict[str, Any]:
        """What the rows of `condition` mean, whatever the columns of another set do."""
        return {"categories": self.categories}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.categories = state["categories"]

    def hidden_conditions(self, n: int) -> Tensor:
        """int64 (B, C): as if nothing were known of `n` cells."""
        ids = torch.tensor([len(names) + 1 for names in self.categories.values()], dtype=torch.int64)
        return ids.to(self.log_gene.device).expand(n, -1)

    def conditions(self, batch: Batch) -> Tensor:
        """int64 (B, C): ids of a batch's conditions; in training hidden for some cells, which the cell's time decides."""
        ids = self.hidden_conditions(len(batch["values"])).clone()
        for column, (name, names) in enumerate(self.categories.items()):
            code = batch[name].long()
            ids[:, column] = torch.where(code < 0, len(names), code)
        if self.training:
            # low digits of t are a uniform number that no number of processes and no resuming changes
            hidden = (batch["diffusion_time"] * 4096).frac() < self.condition_dropout
            ids = torch.where(hidden[:, None], self.hidden_conditions(len(ids)), ids)
        return ids

    def encode(self, levels: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """Genes (B, G, E) as they enter, and patches (B, N, D) after all layers."""
        K, G = self.n_levels, levels.shape[1]
        ids = torch.where(levels < 0, K + 1, levels.clamp(max=K)).long()  # hidden: K
        above = self.above[torch.arange(G, device=ids.device), ids]
        genes = self.level(ids) + self.gene.weight + above[..., None] * self.slope
        whole = F.pad(genes, (0, 0, 0, -G % self.patch))
        x = self.compress(whole.view(len(levels), -1, self.patch * genes.shape[2]))
        front = [table(ids)[:, None] for table, ids in zip(self.condition, conditions.unbind(1), strict=True)]
        x = torch.cat([*front, x], 1)
        for block in self.blocks:
            x = block(x)
        return genes, self.last_norm(x[:, len(front) :])

    def logits(self, levels: Tensor, conditions: Tensor, row: Tensor, gene: Tensor) -> Tensor:
        """float32 (M, K): of genes (M,) of the cells `row` (M,), which have K or more in `levels`, int (B, G): hidden."""
        genes, x = self.encode(levels, conditions)
        spread = self.expand(x).view(len(levels), -1, genes.shape[2])  # (B, N · P, E)
        h = genes[row, gene] + spread[row, gene]
        h = h + self.mix(self.norm(h))
        return self.head(self.head_norm(h)).float() + self.log_gene[gene]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        row, gene = batch["masked"].nonzero(as_tuple=True)  # (M,)
        logits = self.logits(batch["masked_values"], self.conditions(batch), row, gene)
        return {"masked": F.cross_entropy(logits, batch["values"][row, gene].long(), reduction="sum")}

    def embed(self, batch: Batch) -> Tensor:
        """Mean of the patches, of the counts alone: whatever the set says of a cell is hidden."""
        return self.encode(batch["values"], self.hidden_conditions(len(batch["values"])))[1].mean(1).float()


class LingshuCell(Recipe[Config]):
    title, unit = "Masked diffusion", "nats a masked gene"
    kinds, presets = ("levels",), ("lingshu-cell", "variable-genes.toml")

    def introduce(self, data: ShardDataset) -> str:
        columns = " and ".join(self.config.conditions) or "nothing else"
        return (
            f"each cell has a time t between 0 and 1; that share of its {len(data.dense_feature_ids):,} genes' count levels is "
            f"hidden and asked for, given the others and {columns}."
        )

    def loader(self) -> dict[str, Any]:
        return {"output": "dense", "objective": MaskedDiffusion(), "columns": self.config.conditions}

    def fit_options(self) -> dict[str, Any]:
        return {"output": "dense"}

    def embed_options(self) -> dict[str, Any]:
        return {"columns": ()}  # they are hidden, and a set need not have them

    def categories(self, data: ShardDataset) -> dict[str, list[str]]:
        """Values of the condition columns."""
        for name in self.config.conditions:
            if name not in data.categories:
                raise ValueError(
                    f"conditions: {name!r} is a column of numbers, and a condition is one of strings, as "
                    f"{', '.join(data.categories)}"
                )
        return {name: list(data.categories[name]) for name in self.config.conditions}

    def group(self, depth: Tensor, batch: Batch, categories: dict[str, list[str]]) -> Tensor:
        """int64 (B,): one number for the depth and all conditions of a cell."""
        for name, names in categories.items():
            depth = depth * (len(names) + 1) + batch[name].long() + 1
        return depth

    def fit(self, train: ShardDataset) -> Marginals:
        n_genes, value = len(train.dense_feature_ids), train.tokenizer.preset.value
        if n_genes > self.config.context_length:
            raise ValueError(
                f"{train.tokenizer.name!r} gives {n_genes:,} genes, over context_length = {self.config.context_length:,}: "
                "raise it, or choose fewer genes by a preset such as variable-genes.toml"
            )
        categories = self.categories(train)
        counts = counts_of(value.level_starts, value.level_steps)
        found = level_frequencies((batch["values"] for batch in train), counts)

        def grouped(also: dict[str, list[str]]) -> Iterator[tuple[Tensor, Tensor]]:
            for batch in train:
                depth = depth_group(batch["values"], batch["values"] >= 0, found)
                yield batch["values"], self.group(depth, batch, also)

        tables = {"depth": group_frequencies(grouped({}), N_DEPTHS, len(counts))}
        if categories:
            n_groups = N_DEPTHS * math.prod(len(names) + 1 for names in categories.values())
            tables["depth and condition"] = group_frequencies(grouped(categories), n_groups, len(counts))
        return found | {f"{name} {key}": part for name, table in tables.items() for key, part in table.items()}

    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        return self._model(data, marginals, self.categories(data))

    def rebuild(self, data: ShardDataset, saved: Mapping[str, Any]) -> Model:
        return self._model(data, saved["marginals"], saved["model"]["_extra_state"]["categories"])

    def _model(self, data: ShardDataset, marginals: Marginals, categories: dict[str, list[str]]) -> Model:
        if (n := len(data.dense_feature_ids)) != (learned := len(marginals["log_gene"])):
            raise ValueError(
                f"the set gives rows of {n:,} genes, and the model learned from {learned:,}: it needs all of them"
            )
        return DiffusionModel(marginals, categories, self.config)

    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        return {"masked": batch["masked"].sum()}

    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        def asked(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
            row, gene = batch["masked"].nonzero(as_tuple=True)
            return row, gene, batch["values"][row, gene].long()

        def by_depth(batch: Batch, name: str, categories: dict[str, list[str]]) -> Tensor:
            """The shares of the gene's levels among training cells as deep as the visible genes say this one is."""
            table = {key: marginals[f"{name} {key}"] for key in ("keys", "n", "total", "zeros", "kinds")}
            visible = ~batch["masked"] & (batch["values"] >= 0)
            group = self.group(depth_group(batch["masked_values"], visible, marginals), batch, categories)
            row, gene, level = asked(batch)
            return -log_share(marginals, table, group[row], gene, level).sum()

        found = {
            "global_marginal": lambda batch: -marginals["log_global"][asked(batch)[2]].sum(),
            "gene_marginal": lambda batch: -marginals["log_gene"][asked(batch)[1:]].sum(),
            "gene_marginal_of_depth": lambda batch: by_depth(batch, "depth", {}),
        }
        if model.categories:
            name = "depth and condition"
            found["gene_marginal_of_depth_and_condition"] = lambda batch: by_depth(batch, name, model.categories)
        return found


STYLES: list[type[Recipe]] = [LingshuCell]

if __name__ == "__main__":
    main(__doc__, HERE, Config, STYLES)

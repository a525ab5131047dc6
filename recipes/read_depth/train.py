"""Read depth: from a thinned cell, of which a part is hidden, predict the values of the whole one, as scFoundation.

    scdata fit pbmc.set
    python recipes/read_depth/train.py --set pbmc.set --out run --max-minutes 5

Method: Hao et al., "Large-scale foundation model on single-cell transcriptomics", Nature Methods 2024; code
biomap-research/scFoundation @ d09626a5, ``model/``. README.md says what is different here. T is log10 of the whole cell's
counts, S of the thinned one's. Shapes in comments: B cells, L tokens that the encoder reads, G genes, D width, E width of the
decoder.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from common.blocks import Block, gene_embedding, mean_over, summed_error, zeroed  # noqa: E402
from common.command import main  # noqa: E402
from common.config import TrainingConfig  # noqa: E402
from common.recipe import Batch, Marginals, Model, Predictor, Recipe  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from scdata import ShardDataset, encoder_view  # noqa: E402
from scdata.objectives import MaskedValues  # noqa: E402

_BINS = 100  # rows of the table of values
_USUAL = 3.0  # a depth to measure others from
_RIDGE = 0.1  # added to the squares of depths, for genes of which little is known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """The keys of config.toml, which says what they mean."""

    masked: float
    masked_zeros: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shape("width", "layers", "heads", "decoder_width", "decoder_layers", "decoder_heads")
        if self.shape["decoder_width"] % self.shape["decoder_heads"]:
            raise ValueError(f"decoder_width {self.shape['decoder_width']} is no multiple of decoder_heads")
        self.require_fraction("masked")
        self.require_fraction("masked_zeros")


# -- without a model --------------------------------------------------------------


def was_thinned(batch: Batch) -> Tensor:
    """bool (B, 1)"""
    return batch["depths"][:, 1:] < batch["depths"][:, :1]


def depths_from_usual(batch: Batch) -> Tensor:
    """(B, 3): 1, and T and S, measured from `_USUAL`."""
    return F.pad(batch["depths"] - _USUAL, (1, 0), value=1.0)


def mean_at_depth(batch: Batch, marginals: Marginals) -> Tensor:
    """(B, G): mean of each gene, among those that are hidden, in cells of such depths T and S, by least squares."""
    return (depths_from_usual(batch) @ marginals["at_depth"].T).clamp(min=0)


def mean_if_found(batch: Batch, marginals: Marginals) -> Tensor:
    """(B, G): mean of each gene in whole cells, by whether it is found in the thinned one."""
    return torch.where(batch["values"] > 0, marginals["found"], marginals["not_found"])


# -- the model ----------------------------------------------------------------------


class ValueEmbedding(nn.Module):
    """Values as vectors, through soft bins that are learned: (…,) → (…, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, _BINS), nn.Linear(_BINS, _BINS)
        self.direct = nn.Parameter(torch.ones(()))
        self.table = nn.Linear(_BINS, width, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.first(values[..., None]), 0.1)
        return self.table((self.direct * hidden + self.second(hidden)).softmax(-1))


class ReadingBlock(nn.Module):
    """Attention of each gene to what the encoder gives, then a feed-forward layer: (B, G, E) → (B, G, E)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.forward_ = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, read: Tensor, attend: Tensor) -> Tensor:
        """`read` (B, L, E), of which `attend`, bool (B, L), is no padding."""
        B, G, E = x.shape
        q = self.q(self.norm_attention(x)).view(B, G, self.heads, -1).transpose(1, 2)
        k, v = self.kv(read).view(B, -1, 2, self.heads, E // self.heads).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attend[:, None, None], dropout_p=rate)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(B, G, E)))
        return x + self.dropout(self.forward_(self.norm_forward(x)))


class ReadDepthModel(Model):
    """An encoder of the genes that are found and not hidden, with T and S; a decoder of all genes.

    Predictions begin at means of genes (`mean_at_depth` where hidden, `mean_if_found` elsewhere), because the last layer begins
    at zero.
    """

    def __init__(self, marginals: Marginals, config: Config) -> None:
        super().__init__()
        shape, n_genes = config.shape, len(marginals["mean"])
        width, decoder = shape["width"], shape["decoder_width"]
        self.most_read = min(config.context_length, n_genes)
        self.names = tuple(marginals)
        for name, table in marginals.items():
            self.register_buffer(name, table)
        self.gene = gene_embedding(n_genes + 3, width)  # then T, S, and padding, as `encoder_view` counts
        self.value = ValueEmbedding(width)
        self.norm, self.encoded_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.encoder = nn.ModuleList(Block(width, shape["heads"], config.dropout) for _ in range(shape["layers"]))
        self.handed = nn.Linear(width, decoder)
        self.asked = gene_embedding(n_genes, decoder)
        self.zero, self.hidden = (nn.Parameter(torch.randn(decoder) * 0.02) for _ in range(2))
        self.decoder_norm, self.last_norm = nn.LayerNorm(decoder), nn.LayerNorm(decoder)
        self.decoder = nn.ModuleList(
            ReadingBlock(decoder, shape["decoder_heads"], config.dropout) for _ in range(shape["decoder_layers"])
        )
        self.head = zeroed(nn.Linear(decoder, 1))

    def encode(self, values: Tensor, depths: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (B, L, D) of the genes read, then of T and S; their places int64 (B, L) and bool (B, L): no padding."""
        if self.most_read < values.shape[1]:
            hidden = hidden | (values < values.topk(self.most_read, 1).values[:, -1:])
        seen = encoder_view(values, depths, hidden)
        x = self.norm(self.gene(seen["positions"]) + self.value(seen["values"]))
        for block in self.encoder:
            x = block(x, seen["attention_mask"][:, None, None])
        return self.encoded_norm(x), seen["positions"], seen["attention_mask"]

    def predict(self, batch: Batch) -> Tensor:
        """Values of the whole cell, float32 (B, G)."""
        masked = batch["masked"]
        read, place, there = self.encode(batch["values"], batch["depths"], masked)
        read = self.handed(read)
        x = self.asked.weight + torch.where(masked[..., None], self.hidden, self.zero)
        (B, G), E = masked.shape, read.shape[2]
        at = torch.zeros(B, G + 3, E, dtype=read.dtype, device=read.device)
        at = at.scatter(1, place[..., None].expand(-1, -1, E), read)[:, :G]  # behind G: T, S, padding
        x = self.decoder_norm(x + at)
        for block in self.decoder:
            x = block(x, read, there)
        marginals = {name: getattr(self, name) for name in self.names}
        start = torch.where(masked, mean_at_depth(batch, marginals), mean_if_found(batch, marginals))
        return start + self.spread * self.head(self.last_norm(x)).squeeze(-1).float()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        predicted, targets, masked = self.predict(batch), batch["targets"], batch["masked"]
        return {
            "masked": summed_error(predicted, targets, masked),
            "thinned": summed_error(predicted, targets, was_thinned(batch) & ~masked),
        }

    def read_whole(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """`encode` of the whole cell."""
        depths = batch["depths"][:, :1].expand(-1, 2)  # nothing thinned: S is T
        return self.encode(batch["targets"], depths, torch.zeros_like(batch["targets"], dtype=torch.bool))

    def attended(self, batch: Batch) -> Tensor:
        return self.read_whole(batch)[1]

    def embed(self, batch: Batch) -> Tensor:
        """S, T, the highest and the mean of genes (B, 4 D), in the original's order; of the whole cell."""
        n_genes = batch["targets"].shape[1]
        x, place, there = self.read_whole(batch)
        genes = there & (place < n_genes)
        highest = x.masked_fill(~genes[..., None], -torch.inf).amax(1)
        highest = torch.where(genes.any(1, keepdim=True), highest, 0.0)
        target, source = (mean_over(x, place == n_genes + number) for number in (0, 1))
        return torch.cat([source, target, highest, mean_over(x, genes)], 1).float()


# -- the recipe -----------------------------------------------------------------------


class ReadDepth(Recipe[Config]):
    title, unit = "Read depth", "(ln(1 + counts of 10,000))^2"
    kinds, presets = ("lognorm",), ("variable-genes.toml", "scfoundation+fit")

    def introduce(self, data: ShardDataset) -> str:
        thin, n = data.tokenizer.preset.depth.thin, len(data.dense_feature_ids)
        return (
            f"{thin.p:.0%} of the cells of {thin.min_counts} counts or more are thinned, and {self.config.masked:.0%} of the "
            f"genes found are hidden; what are their values, of {n:,} genes, in the whole cell?"
        )

    def loader(self) -> dict[str, Any]:
        # where a value is hidden is all that is used, so what stands there instead is of no meaning
        objective = MaskedValues(rate=self.config.masked, zero_rate=self.config.masked_zeros, mask_value=-1)
        return {"output": "dense", "objective": objective}

    def fit_options(self) -> dict[str, Any]:
        return {"output": "dense"}

    def fit(self, train: ShardDataset) -> Marginals:
        """Means of genes where they would be hidden or not, each value with its chance of it."""
        self._check(train)
        n_genes = len(train.dense_feature_ids)
        # where hidden: sums of what least squares needs of 1, T and S, of their products with values, and of squared values
        squares, products, power = (torch.zeros(n_genes, *shape).double() for shape in ((3, 3), (3,), ()))
        found, lost = (
            torch.zeros(2, n_genes).double() for _ in range(2)
        )  # of 1 and value, where thinned and not hidden
        for batch in train:
            targets, depths, is_found = (
                batch["targets"].double(),
                depths_from_usual(batch).double(),
                batch["values"] > 0,
            )
            chance = torch.where(is_found, self.config.masked, self.config.masked_zeros).double()
            squares += torch.einsum("bg,bi,bj->gij", chance, depths, depths)
            products += torch.einsum("bg,bi->gi", chance * targets, depths)
            power += (chance * targets**2).sum(0)
            shown = (1 - chance) * was_thinned(batch)
            for table, where in ((found, is_found), (lost, ~is_found)):
                weight = torch.where(where, shown, 0.0)
                table += torch.stack([weight.sum(0), (weight * targets).sum(0)])
        ridge = torch.diag(torch.tensor([0, _RIDGE, _RIDGE])).double()
        mean = products[:, 0] / squares[:, 0, 0]
        everywhere = [table[1].sum() / table[0].sum().clamp(min=1) for table in (found, lost)]
        # one more cell with the mean of all genes, for genes never found
        by_found = [(table[1] + mean) / (table[0] + 1) for table, mean in zip((found, lost), everywhere, strict=True)]
        variance = (power - squares[:, 0, 0] * mean**2).sum() / squares[:, 0, 0].sum()
        tables = {
            "mean": mean,
            "at_depth": torch.linalg.solve(squares + ridge, products),
            "shown": (found[1] + lost[1]) / (found[0] + lost[0]).clamp(min=1),
            "found": by_found[0],
            "not_found": by_found[1],
            "spread": variance.clamp(min=1e-12).sqrt(),
        }
        return {**{name: table.float() for name, table in tables.items()}, "tokens": tokens_of_columns(train)}

    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        self._check(data)
        if not torch.equal(tokens_of_columns(data), marginals["tokens"]):
            raise ValueError("the set's variable genes are others than those that the model learned from")
        return ReadDepthModel(marginals, self.config)

    def _check(self, data: ShardDataset) -> None:
        depth = data.tokenizer.preset.depth
        if depth.tokens != ("target", "source") or depth.thin is None:
            raise ValueError(
                f"{data.tokenizer.name!r} does not thin cells ([depth.thin]) or has no depths T and S: use one that does, "
                f"such as {' or '.join(self.presets)}"
            )

    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        return {"masked": batch["masked"].sum(), "thinned": (was_thinned(batch) & ~batch["masked"]).sum()}

    def weights(self, marginals: Marginals) -> dict[str, float]:
        one = 1 / float(marginals["spread"]) ** 2  # so that the rate suits any number of genes
        return {"masked": one, "thinned": one}

    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        def error(batch: Batch, prediction: Tensor) -> Tensor:
            return summed_error(prediction, batch["targets"], batch["masked"])

        return {
            "gene_mean": lambda batch: error(batch, marginals["mean"].expand_as(batch["targets"])),
            "gene_mean_at_depth": lambda batch: error(batch, mean_at_depth(batch, marginals)),
        }

    def other_baselines(self, marginals: Marginals, model: Model) -> dict[str, dict[str, Predictor]]:
        def error(batch: Batch, prediction: Tensor) -> Tensor:
            return summed_error(prediction, batch["targets"], was_thinned(batch) & ~batch["masked"])

        thinned: dict[str, Predictor] = {
            "gene_mean": lambda batch: error(batch, marginals["shown"].expand_as(batch["targets"])),
            # counts times 10^T / 10^S, normalized by 10^T, which are the thinned cell's own normalized values
            "input_rescaled": lambda batch: error(batch, batch["values"]),
            "gene_mean_if_found": lambda batch: error(batch, mean_if_found(batch, marginals)),
        }
        return {"thinned": thinned}


def tokens_of_columns(data: ShardDataset) -> Tensor:
    """int64 (G,)"""
    return torch.tensor([data.vocab.token_ids[gene] for gene in data.dense_feature_ids])


STYLES: list[type[Recipe]] = [ReadDepth]

if __name__ == "__main__":
    main(__doc__, HERE, Config, STYLES)

"""Autoregressive: read a cell gene by gene, predict which gene comes next and how often it was counted, as TranscriptFormer.

    scdata fit pbmc.set
    python recipes/autoregressive/train.py --set pbmc.set --out run --max-minutes 5
    python recipes/autoregressive/sample.py --checkpoint run/checkpoint-000000800.pt --set pbmc.set -o cells.h5ad

Method: Pearce et al., "TranscriptFormer" (2025); code czi-ai/transcriptformer, PyPI 0.6.1, ``model/``. README.md says what is
different here. Shapes in comments: B cells, L positions, D width, V token ids, G genes, M positions that are asked for a gene.
"""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from common.baselines import position_bucket  # noqa: E402
from common.blocks import Block, gene_embedding, mean_over, zeroed  # noqa: E402
from common.command import main  # noqa: E402
from common.config import TrainingConfig  # noqa: E402
from common.recipe import Batch, Marginals, Model, Predictor, Recipe  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from scdata import ShardDataset  # noqa: E402
from scdata.objectives import NextGene  # noqa: E402

_NEVER = -1e9  # a logit; not infinite, so that a cell of all genes has a loss
_LEAST_MEAN = 1 + 1e-3  # of counts above 0: the rate of a gene that was never counted twice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """The keys of config.toml, which says what they mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shape("width", "layers", "heads")


# -- counts: Poisson, given that there is one ---------------------------------


def count_nats(log_rate: Tensor, count: Tensor) -> Tensor:
    """−ln P(y) of counts y ≥ 1 by the Poisson distribution without 0, whose normalizer is ln(e^μ − 1); any shape.

    TranscriptFormer's code has other normalizers in its place, an approximation and that of the Poisson distribution with 0.
    """
    rate = log_rate.exp()
    return rate + torch.log(-torch.expm1(-rate)) - count * log_rate + torch.lgamma(count + 1)


def log_rate_of(mean: Tensor) -> Tensor:
    """ln μ whose Poisson distribution without 0 has this mean, μ / (1 − e^−μ): the most likely rate; float32."""
    mean = mean.double().clamp(min=_LEAST_MEAN)
    low, high = torch.zeros_like(mean), mean
    for _ in range(60):
        middle = (low + high) / 2
        above = middle / -torch.expm1(-middle) > mean
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high.log().float()


# -- the model ------------------------------------------------------------------


class Asked(NamedTuple):
    """What a batch asks for, at M positions."""

    row: Tensor  # int64 (M,)
    position: Tensor  # int64 (M,)
    is_end: Tensor  # bool (M,): the cell ends here, no gene follows
    column: Tensor  # int64 (M,): which of the G genes follows; G at an end
    count: Tensor  # float32 (M,): how often it was counted


class NextGeneModel(Model):
    """Causal attention over genes, with a bias ln(1 + count) on the scores of genes that came before.

    Position i stands for the i-th gene, and is asked for the next one. It sees the genes up to its own; the counts of earlier
    ones raise their scores, its own score is not raised. No gene comes twice, so what was seen has no share in the next; the
    rest begin with their shares of the train split, ends with the share of cells that end at such a position, and counts with
    the gene's most likely rate, because the last layers begin at zero.
    """

    def __init__(self, marginals: Marginals, data: ShardDataset, config: Config) -> None:
        super().__init__()
        width, layers, heads = (config.shape[key] for key in ("width", "layers", "heads"))
        self.end_id = data.vocab.specials["[END]"]
        for name in ("column", "tokens", "log_share", "log_rate", "end_logit"):
            self.register_buffer(name, marginals[name])
        self.gene = gene_embedding(data.vocab.n_tokens, width)
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, config.dropout) for _ in range(layers))
        self.next, self.bias = zeroed(nn.Linear(width, width)), nn.Parameter(torch.zeros(len(self.log_share)))
        self.end = zeroed(nn.Linear(width, 1))
        self.rate = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), zeroed(nn.Linear(width, 1)))

    def read(self, token_ids: Tensor) -> Tensor:
        """(…, D)"""
        return self.norm(self.gene(token_ids))

    def encode(self, token_ids: Tensor, counts: Tensor) -> Tensor:
        """Positions (B, L, D) after all layers; padding comes last, so that nothing sees it."""
        length = token_ids.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=token_ids.device).tril(-1)
        bias = torch.where(before, torch.log1p(counts.float())[:, None], 0.0)  # (B, L, L): queries, keys
        attend = bias.masked_fill(before.T, -math.inf)[:, None]
        x = self.read(token_ids)
        for block in self.blocks:
            x = block(x, attend)
        return self.last_norm(x)

    def log_shares(self, x: Tensor, seen: Tensor) -> Tensor:
        """Log shares (M, G + 1) of the next gene after positions (M, D); `seen` int64 (M, …): columns of genes before."""
        logits = F.linear(self.next(x), self.gene.weight[self.tokens], self.bias).float() + self.log_share
        return logits.scatter(1, seen, _NEVER).log_softmax(1)

    def log_odds_of_end(self, x: Tensor, position: Tensor) -> Tensor:
        """(M,): that a cell ends after a position, by what stands there (M, D) and how far it is, int64 (M,)."""
        return self.end(x).squeeze(-1).float() + self.end_logit[position_bucket(position)]

    def log_rates(self, x: Tensor, column: Tensor) -> Tensor:
        """(M,): log rate of the next gene's count, given which gene it is."""
        with_gene = torch.cat([x, self.gene(self.tokens[column]).to(x.dtype)], 1)
        return (self.log_rate[column] + self.rate(with_gene).squeeze(-1).float()).clamp(-10, 10)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        asked = asks(batch, self.column, self.end_id)
        x = self.encode(batch["input_token_ids"], batch["input_values"])[asked.row, asked.position]
        seen = seen_before(asked, self.column[batch["input_token_ids"]], len(self.log_share) - 1)
        share = self.log_shares(x, seen).gather(1, asked.column[:, None]).squeeze(1)
        end = self.log_odds_of_end(x, asked.position)
        gene = torch.where(asked.is_end, F.softplus(-end), F.softplus(end) - share).sum()
        count = torch.where(asked.is_end, 0.0, count_nats(self.log_rates(x, asked.column), asked.count)).sum()
        return {"gene_and_count": gene + count, "gene": gene.detach(), "count": count.detach()}

    def attended(self, batch: Batch) -> Tensor:
        return batch["input_token_ids"]

    def embed(self, batch: Batch) -> Tensor:
        genes = self.column[batch["input_token_ids"]] < len(self.log_share) - 1
        return mean_over(self.encode(batch["input_token_ids"], batch["input_values"]), genes).float()


def asks(batch: Batch, column: Tensor, end_id: int) -> Asked:
    """The positions of a batch that have a target."""
    row, position = (batch["target_token_ids"] >= 0).nonzero(as_tuple=True)
    target = batch["target_token_ids"][row, position]
    is_end = target == end_id
    # counts of 1 at ends, so that no figure is infinite which is not looked at
    count = torch.where(is_end, 1, batch["target_values"][row, position]).float()
    return Asked(row, position, is_end, column[target], count)


def seen_before(asked: Asked, columns: Tensor, nothing: int) -> Tensor:
    """int64 (M, L): genes up to each position, by `columns` (B, L) of the inputs; `nothing` in later places."""
    place = torch.arange(columns.shape[1], device=columns.device)
    return torch.where(place <= asked.position[:, None], columns[asked.row], nothing)


def sums_so_far(numbers: Tensor) -> Tensor:
    """(B, L): sums up to each position; as a product, for a GPU's cumsum is not deterministic."""
    length = numbers.shape[1]
    return numbers @ torch.ones(length, length, dtype=numbers.dtype, device=numbers.device).triu()


# -- the recipe -----------------------------------------------------------------


class Autoregressive(Recipe[Config]):
    title, unit = "Autoregressive", "nats a gene"
    kinds, presets = ("counts",), ("variable-genes.toml", "transcriptformer+fit")

    def introduce(self, data: ShardDataset) -> str:
        n, clip = len(data.dense_feature_ids), data.tokenizer.preset.value.clip
        most = f", {clip} at most" if clip else ""
        return (
            f"name the next gene of a cell, of {n:,}, from those before, and its count{most}; say where the cell ends."
        )

    def loader(self) -> dict[str, Any]:
        return {"context_length": self.config.context_length, "objective": NextGene()}

    def embed_options(self) -> dict[str, Any]:
        return {"objective": NextGene()}

    def fit(self, train: ShardDataset) -> Marginals:
        """Whole cells; one that the context cuts weighs as much as what is left of it."""
        context, (tokens, column) = self.config.context_length, gene_columns(train)
        n_genes = len(tokens) - 1
        found, total = torch.zeros(n_genes + 1).double(), torch.zeros(n_genes + 1).double()
        lengths = torch.zeros(context + 1).double()  # cells by number of genes, all that are cut in the last place
        for batch in train:
            n = batch["cu_seqlens"].diff().long()
            weight = torch.repeat_interleave((context / n.clamp(min=1)).clamp(max=1), n).double()
            columns = column[batch["token_ids"].long()]
            found += torch.bincount(columns, weight, minlength=n_genes + 1)
            total += torch.bincount(columns, weight * batch["values"], minlength=n_genes + 1)
            lengths += torch.bincount(n.clamp(max=context), minlength=context + 1)
        found, total = found[:-1], total[:-1]
        # genes never seen share the weight of as many as there are different ones (as in common.baselines)
        n_seen = (found > 0).sum()
        share = (found + n_seen / n_genes) / (found.sum() + n_seen)
        everywhere = total.sum() / found.sum().clamp(min=1)
        mean = (total + everywhere) / (found + 1)  # one more cell with the mean of all genes
        ends, there = lengths[:-1], lengths.flip(0).cumsum(0).flip(0)[:-1]  # at each position
        bucket = position_bucket(torch.arange(context))
        odds = torch.bincount(bucket, ends) + 0.5, torch.bincount(bucket, there - ends) + 0.5
        every = (ends.sum() + 0.5) / (there.sum() + 1)
        return {
            "column": column,
            "tokens": tokens,
            "log_share": torch.cat([share.log(), torch.tensor([_NEVER])]).float(),
            "log_rate": torch.cat([log_rate_of(mean), torch.zeros(1)]),
            "excess": torch.cat([mean - 1, torch.zeros(1)]).float(),
            "end_logit": (odds[0] / odds[1]).log().float(),
            "log_end": every.log().float(),
        }

    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        if not torch.equal(gene_columns(data)[0], marginals["tokens"]):
            raise ValueError("the set's variable genes are others than those that the model learned from")
        return NextGeneModel(marginals, data, self.config)

    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        n = (batch["target_values"] > 0).sum()
        return {"gene_and_count": n, "gene": n, "count": n}

    def weights(self, marginals: Marginals) -> dict[str, float]:
        return {"gene": 0.0, "count": 0.0}  # parts of the first term, for the log

    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        column, log_share, share = marginals["column"], marginals["log_share"], marginals["log_share"].exp()
        log_rate, excess = marginals["log_rate"], marginals["excess"]

        def unigram(batch: Batch) -> Tensor:
            """Shares of genes and of ends, whatever came before; each gene's own Poisson distribution."""
            asked = asks(batch, column, model.end_id)
            log_end = marginals["log_end"]
            gene = torch.log1p(-log_end.exp()) + log_share[asked.column]
            nats = torch.where(asked.is_end, -log_end, count_nats(log_rate[asked.column], asked.count) - gene)
            return nats.sum()

        def unseen(batch: Batch, scaled: bool = False) -> Tensor:
            """Shares among genes that did not come yet, of ends at such a position; `scaled`: rates, by the counts so far."""
            asked, inputs = asks(batch, column, model.end_id), column[batch["input_token_ids"].long()]
            here = asked.row, asked.position
            left = (1 - sums_so_far(share[inputs].double())[here]).clamp(min=1e-6).log().float()
            end = marginals["end_logit"][position_bucket(asked.position)]
            rate = log_rate[asked.column]
            if scaled:
                # counts above 1 against those of the same genes on average, with one more of both
                above = torch.where(inputs < len(log_share) - 1, batch["input_values"] - 1.0, 0.0)
                ratio = (sums_so_far(above) + 1) / (sums_so_far(excess[inputs]) + 1)
                rate = rate + ratio[here].log()
            gene = F.softplus(end) - log_share[asked.column] + left
            return torch.where(asked.is_end, F.softplus(-end), gene + count_nats(rate, asked.count)).sum()

        return {
            "unigram_and_poisson": unigram,
            "unigram_not_seen_and_poisson": unseen,
            "unigram_not_seen_and_scaled_poisson": lambda batch: unseen(batch, scaled=True),
        }


def gene_columns(data: ShardDataset) -> tuple[Tensor, Tensor]:
    """Token ids int64 (G + 1,) of the genes that a cell may have, then [START]; and each token's place there, int64 (V,)."""
    tokens = torch.tensor([*map(data.vocab.token_ids.get, data.dense_feature_ids), data.vocab.specials["[START]"]])
    column = torch.full((data.vocab.n_tokens,), len(tokens) - 1)
    column[tokens] = torch.arange(len(tokens))
    return tokens, column


STYLES: list[type[Recipe]] = [Autoregressive]

if __name__ == "__main__":
    main(__doc__, HERE, Config, STYLES)

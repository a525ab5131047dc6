"""Masked gene modelling: hide a part of a cell and predict it from the rest, as scGPT (values) and Geneformer (genes) do.

    python recipes/masked_gene_modelling/train.py --set pbmc.set --out run --max-minutes 5
    python recipes/masked_gene_modelling/train.py --set pbmc.set --out run --preset geneformer-v2

Shapes in comments: B cells, L tokens of the longest, P of them perceived and Q generated, D width, V token ids, M masked.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import torch  # noqa: E402
from common.baselines import gene_means, position_bucket, token_frequencies  # noqa: E402
from common.blocks import Block, gene_embedding, mean_over, summed_error, zeroed  # noqa: E402
from common.command import main  # noqa: E402
from common.config import TrainingConfig  # noqa: E402
from common.data import gene_tokens  # noqa: E402
from common.recipe import Batch, Marginals, Model, Predictor, Recipe  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from scdata import ShardDataset  # noqa: E402
from scdata.objectives import MaskedGenes, PerceptionGeneration, generation_attention  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """The keys of config.toml, which says what they mean."""

    generated: tuple
    second_pass_after: int
    masked: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_shape("width", "layers", "heads")
        self.require_fraction("generated")
        self.require_fraction("masked")


# -- scGPT: values of genes ---------------------------------------------------


class ValueModel(Model):
    """scGPT's generative pretraining: values of some genes from those of the others, in one pass without order.

    A value enters as its distance from the mean of its gene (tried: raw bins learn far slower), one that is asked for as a
    flag. Predictions begin at the mean of the gene, because the last layers begin at zero.
    """

    def __init__(self, marginals: Marginals, is_gene: Tensor, config: Config) -> None:
        super().__init__()
        width, layers, heads = (config.shape[key] for key in ("width", "layers", "heads"))
        self.second_pass_after, self.spread = config.second_pass_after, float(marginals["spread"])
        self.register_buffer("mean", marginals["mean"])  # (V,)
        self.register_buffer("is_gene", is_gene)  # (V,)
        self.gene = gene_embedding(len(is_gene), width)
        self.norm = nn.LayerNorm(width)
        self.value = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width))
        self.asked = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, config.dropout) for _ in range(layers))
        self.last_norm, self.head = nn.LayerNorm(width), zeroed(nn.Linear(width, 1))
        self.query, self.of_cell = nn.Linear(width, width), zeroed(nn.Linear(width, width, bias=False))  # MVC

    def read(self, token_ids: Tensor, values: Tensor) -> Tensor:
        """Perceived tokens as vectors (B, P, D); special tokens have no value."""
        above = torch.where(self.is_gene[token_ids], (values - self.mean[token_ids]) / self.spread, 0.0)
        return self.norm(self.gene(token_ids)) + self.value(above[..., None])

    def encode(self, batch: Batch, cell: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Perceived (B, P, D) and generated (B, Q, D) tokens after all layers; `cell` (B, D) stands in for the first one."""
        perceived = self.read(batch["pcpt_token_ids"], batch["pcpt_values"].float())
        if cell is not None:
            perceived = torch.cat([cell[:, None], perceived[:, 1:]], 1)
        asked = self.norm(self.gene(batch["gen_token_ids"])) + self.asked
        attend = generation_attention(batch["pcpt_mask"], batch["gen_mask"])[:, None]
        x = torch.cat([perceived, asked], 1)
        for block in self.blocks:
            x = block(x, attend)
        x = self.last_norm(x)
        return x[:, : perceived.shape[1]], x[:, perceived.shape[1] :]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        ids, truth, where = batch["gen_token_ids"], batch["gen_targets"].float(), batch["gen_mask"]
        mean = self.mean[ids]
        perceived, asked = self.encode(batch)
        cell = perceived[:, 0]  # <cls>
        predicted = mean + self.spread * self.head(asked).squeeze(-1).float()
        query = torch.sigmoid(self.query(self.gene(ids)))
        from_cell = mean + self.spread * (self.of_cell(query) * cell[:, None]).sum(-1).float()
        losses = {
            "generated": summed_error(predicted, truth, where),
            "from_cell": summed_error(from_cell, truth, where),
        }
        if self.training and self.step >= self.second_pass_after:
            _, asked = self.encode(batch, cell.detach())
            again = mean + self.spread * self.head(asked).squeeze(-1).float()
            losses["second_pass"] = summed_error(again, truth, where)
        return losses

    def attended(self, batch: Batch) -> Tensor:
        return batch["token_ids"]

    def embed(self, batch: Batch) -> Tensor:
        x = self.read(batch["token_ids"], batch["values"].float())
        for block in self.blocks:
            x = block(x, batch["attention_mask"][:, None, None])
        return self.last_norm(x)[:, 0].float()


class Values(Recipe[Config]):
    title, unit = "Masked gene modelling (values)", "bins^2"
    kinds, presets = ("quantile",), ("scgpt+fit", "cell-jepa+fit")

    def introduce(self, data: ShardDataset) -> str:
        n_bins = data.tokenizer.preset.value.n_bins
        shares = ", ".join(f"{share:.0%}" for share in self.config.generated)
        return f"predict the bins, 1 to {n_bins - 1}, of a part of a cell's genes ({shares}) from the rest."

    def loader(self) -> dict[str, Any]:
        return {
            "context_length": self.config.context_length,
            "objective": PerceptionGeneration(rate=self.config.generated),
        }

    def fit(self, train: ShardDataset) -> Marginals:
        return gene_means(train, gene_tokens(train))

    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        if "<cls>" not in data.vocab.specials:
            raise ValueError(
                f"{data.tokenizer.name!r} puts no <cls> before a cell, whose embedding it would be: use scgpt+fit"
            )
        return ValueModel(marginals, gene_tokens(data), self.config)

    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        n = batch["gen_mask"].sum()
        return {"generated": n, "from_cell": n, "second_pass": n}

    def weights(self, marginals: Marginals) -> dict[str, float]:
        one = 1 / float(marginals["spread"]) ** 2  # so that the rate suits any number of bins
        return {"generated": one, "from_cell": one, "second_pass": one}

    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        mean, everywhere = marginals["mean"], marginals["everywhere"]

        def error(batch: Batch, prediction: Tensor) -> Tensor:
            return summed_error(prediction, batch["gen_targets"].float(), batch["gen_mask"])

        def shifted(batch: Batch) -> Tensor:
            """The mean of the gene, shifted by how far the cell's visible genes are above theirs on average."""
            ids = batch["pcpt_token_ids"]
            visible = batch["pcpt_mask"] & model.is_gene[ids]
            residual = torch.where(visible, batch["pcpt_values"].float() - mean[ids], 0.0)
            shift = residual.sum(1) / visible.sum(1).clamp(min=1)
            return error(batch, mean[batch["gen_token_ids"]] + shift[:, None])

        return {
            "global_mean": lambda batch: error(batch, torch.full_like(mean[batch["gen_token_ids"]], float(everywhere))),
            "gene_mean": lambda batch: error(batch, mean[batch["gen_token_ids"]]),
            "shifted_gene_mean": shifted,
        }


# -- Geneformer: genes at ranks -----------------------------------------------


class RankModel(Model):
    """Geneformer's BERT: genes of a cell by falling rank, some of them masked; which ones were they?

    Output: log share of genes around that position, less for those that stand elsewhere in the cell, plus what the model adds,
    which begins at zero. Without the second part (ours) it takes long to learn that no gene is there twice; it is no certainty,
    because genes that replace masked ones may be those asked for.
    """

    ELSEWHERE = 5.0  # nats

    def __init__(self, marginals: Marginals, is_gene: Tensor, config: Config) -> None:
        super().__init__()
        width, layers, heads = (config.shape[key] for key in ("width", "layers", "heads"))
        self.register_buffer("log_by_position", marginals["log_by_position"])  # (buckets, V)
        self.register_buffer("is_gene", is_gene)
        self.gene, self.position = gene_embedding(len(is_gene), width), gene_embedding(config.context_length, width)
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, config.dropout, hidden=4 * width) for _ in range(layers))
        self.head, self.bias = zeroed(nn.Linear(width, width)), nn.Parameter(torch.zeros(len(is_gene)))

    def encode(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L, D)"""
        position = torch.arange(token_ids.shape[1], device=token_ids.device)
        last = self.position.num_embeddings - 1  # padding may go on behind the context
        x = self.norm(self.gene(token_ids) + self.position(position.clamp(max=last)))
        for block in self.blocks:
            x = block(x, attention_mask[:, None, None])
        return self.last_norm(x)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        row, position = batch["masked"].nonzero(as_tuple=True)  # (M,)
        given = batch["masked_token_ids"].long()
        x = self.encode(given, batch["attention_mask"])[row, position]
        prior = self.log_by_position[position_bucket(position)]  # (M, V)
        there = torch.zeros(len(given), prior.shape[1], dtype=torch.bool, device=given.device).scatter_(1, given, True)
        elsewhere = there[row].scatter_(1, given[row, position][:, None], False)
        prior = prior.sub_(elsewhere.to(prior.dtype), alpha=self.ELSEWHERE) + self.bias
        logits = torch.addmm(prior, self.head(x), self.gene.weight.T).float()
        return {"masked": F.cross_entropy(logits, batch["token_ids"][row, position].long(), reduction="sum")}

    def attended(self, batch: Batch) -> Tensor:
        return batch["token_ids"]

    def embed(self, batch: Batch) -> Tensor:
        genes = batch["attention_mask"] & self.is_gene[batch["token_ids"]]
        return mean_over(self.encode(batch["token_ids"], batch["attention_mask"]), genes).float()


class Ranks(Recipe[Config]):
    title, unit = "Masked gene modelling (ranks)", "nats"
    kinds, presets = ("rank",), ("geneformer-v2", "geneformer-v1")

    def introduce(self, data: ShardDataset) -> str:
        return f"{self.config.masked:.0%} of a cell's genes, in the order of their ranks, are masked; name them."

    def loader(self) -> dict[str, Any]:
        return {"context_length": self.config.context_length, "objective": MaskedGenes(rate=self.config.masked)}

    def fit(self, train: ShardDataset) -> Marginals:
        return token_frequencies(train, train.vocab.n_tokens, self.config.context_length)

    def build(self, data: ShardDataset, marginals: Marginals) -> Model:
        return RankModel(marginals, gene_tokens(data), self.config)

    def n_scored(self, batch: Batch) -> dict[str, Tensor]:
        return {"masked": batch["masked"].sum()}

    def baselines(self, marginals: Marginals, model: Model) -> dict[str, Predictor]:
        unigram, by_position = marginals["log_unigram"], marginals["log_by_position"]

        def of_position(batch: Batch) -> Tensor:
            row, position = batch["masked"].nonzero(as_tuple=True)
            return -by_position[position_bucket(position), batch["token_ids"][row, position].long()].sum()

        def not_seen(batch: Batch) -> Tensor:
            """The same, without genes that stand elsewhere in the cell, for none is there twice."""
            row, position = batch["masked"].nonzero(as_tuple=True)
            shares = by_position[position_bucket(position)].exp()  # (M, V)
            here = torch.zeros(len(batch["token_ids"]), shares.shape[1], dtype=torch.bool, device=shares.device)
            here.scatter_(1, batch["token_ids"].long(), ~batch["masked"])
            left = shares.masked_fill(here[row], 0.0)
            share = left.gather(1, batch["token_ids"][row, position].long()[:, None]).squeeze(1)
            return -(share / left.sum(1)).log().sum()

        return {
            "unigram": lambda batch: -unigram[batch["token_ids"][batch["masked"]].long()].sum(),
            "unigram_of_position": of_position,
            "unigram_of_position_not_seen": not_seen,
        }


STYLES: list[type[Recipe]] = [Values, Ranks]

if __name__ == "__main__":
    main(__doc__, HERE, Config, STYLES)

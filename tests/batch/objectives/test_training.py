"""What a trainer does with each objective: a small model learns from the keys of a batch and nothing else.

Shapes in comments: B cells, L tokens of the longest, D features, V token ids.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scdata import ShardDataset
from scdata.objectives import (
    JointEmbedding,
    MaskedDiffusion,
    MaskedGenes,
    MaskedValues,
    NextGene,
    PerceptionGeneration,
    generation_attention,
    masked_attention,
)

N_FEATURES, N_HEADS, N_STEPS = 32, 2, 20


class Model(nn.Module):
    """Two layers of attention over genes, and the heads that objectives need."""

    def __init__(self, n_tokens, n_values=1):
        super().__init__()
        self.gene = nn.Embedding(n_tokens, N_FEATURES)
        self.value = nn.Sequential(nn.Linear(1, N_FEATURES), nn.ReLU(), nn.Linear(N_FEATURES, N_FEATURES))
        self.asked = nn.Parameter(torch.zeros(N_FEATURES))  # stands for a value that is asked for
        layer = nn.TransformerEncoderLayer(N_FEATURES, N_HEADS, 64, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.to_gene = nn.Linear(N_FEATURES, n_tokens)
        self.to_value = nn.Linear(N_FEATURES, n_values)
        self.predictor = nn.Linear(N_FEATURES, N_FEATURES)

    def attend(self, x, seen):
        """(B, L, D) of x (B, L, D); `seen` bool (B, L) of keys, or (B, L, L) of queries and keys."""
        if seen.ndim == 2:
            seen = seen[:, None, :].expand(-1, x.shape[1], -1)
        return self.layers(x, mask=~seen.repeat_interleave(N_HEADS, 0))

    def embedded(self, token_ids, values, scale=50):
        return self.gene(token_ids) + self.value(values[..., None] / scale)


def masked_genes(model, batch):
    logits = model.to_gene(model.attend(model.gene(batch["masked_token_ids"]), batch["attention_mask"]))  # (B, L, V)
    return F.cross_entropy(logits.transpose(1, 2), batch["target_token_ids"])


def masked_values(model, batch):
    x = model.attend(model.embedded(batch["token_ids"], batch["masked_values"]), batch["attention_mask"])
    return F.mse_loss(model.to_value(x)[..., 0][batch["masked"]], batch["values"][batch["masked"]] / 50)


def perception_generation(model, batch):
    seen = model.embedded(batch["pcpt_token_ids"], batch["pcpt_values"])
    x = torch.cat([seen, model.gene(batch["gen_token_ids"]) + model.asked], 1)
    x = model.attend(x, generation_attention(batch["pcpt_mask"], batch["gen_mask"]))
    found = model.to_value(x[:, seen.shape[1] :])[..., 0]
    return F.mse_loss(found[batch["gen_mask"]], batch["gen_targets"][batch["gen_mask"]] / 50)


def next_gene(model, batch):
    ids, asked = batch["input_token_ids"], batch["target_token_ids"]
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    x = model.attend(model.embedded(ids, batch["input_values"], 30), causal & batch["input_mask"][:, None])
    of_gene = F.cross_entropy(model.to_gene(x).transpose(1, 2), asked)
    genes = batch["target_values"] > 0
    log_rate = model.to_value(x[genes] + model.gene(asked[genes]))[..., 0]
    return of_gene + F.poisson_nll_loss(log_rate, batch["target_values"][genes].float(), full=True)


def masked_diffusion(model, batch):
    values, hidden = batch["masked_values"], batch["masked"]
    seen = batch["attention_mask"] & (values != -1)  # without genes that were not measured
    levels = torch.where((values == 281)[..., None], model.asked, model.value(values[..., None] / 100))
    logits = model.to_value(model.attend(model.gene(batch["token_ids"]) + levels, seen))  # (B, L, levels)
    loss = F.cross_entropy(logits.transpose(1, 2), batch["values"].clamp(min=0).long(), reduction="none")
    of_cell = (loss * hidden).sum(1) / seen.sum(1)
    return (of_cell * batch["diffusion_weight"]).mean()


def joint_embedding(model, batch):
    if not hasattr(model, "teacher"):
        object.__setattr__(model, "teacher", copy.deepcopy(model).requires_grad_(False))
    for own, other in zip(model.teacher.parameters(), model.parameters(), strict=True):
        own.lerp_(other.detach(), 0.004)
    ids, there = batch["token_ids"], batch["attention_mask"]
    whole = model.teacher.attend(model.teacher.embedded(ids, batch["values"]), there)[:, 0]  # <cls>: (B, D)
    x = model.attend(model.embedded(ids, batch["masked_values"]), masked_attention(there, batch["masked"]))
    of_values = F.mse_loss(model.to_value(x)[..., 0][batch["masked"]], batch["values"][batch["masked"]] / 50)
    return (1 - F.cosine_similarity(model.predictor(x[:, 0]), whole)).mean() + of_values


CASES = {
    "masked genes": ("geneformer-v2+fit", MaskedGenes(rate=0.3), masked_genes),
    "masked values": ("scgpt+fit", MaskedValues(rate=0.4), masked_values),
    "perception and generation": ("scgpt+fit", PerceptionGeneration(), perception_generation),
    "next gene": ("transcriptformer+fit", NextGene(), next_gene),
    "masked diffusion": ("lingshu-cell+fit", MaskedDiffusion(t_min=0.05, weight="elbo"), masked_diffusion),
    "joint embedding": ("cell-jepa+fit", None, joint_embedding),
    "joint embedding, asked for": ("scgpt+fit", JointEmbedding(), joint_embedding),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_falls(mixed, name):
    tokenizer, objective, loss_of = CASES[name]
    dataset = ShardDataset(mixed.path, tokenizer=tokenizer, objective=objective, batch_size=32, context_length=64)
    torch.manual_seed(0)
    model = Model(dataset.vocab.n_tokens, 281 if "diffusion" in name else 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for batch in dataset:
            if len(losses) == N_STEPS:
                break
            loss = loss_of(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) == N_STEPS
    first, last = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    assert last < 0.97 * first, losses

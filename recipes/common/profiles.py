"""Profiles that are no counts, such as bulk microarrays, through a model that reads genes by rank."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import scdata

from .checkpoint import read_checkpoint
from .recipe import Model
from .trained import load_recipe, wanted_preset

BATCH_SIZE = 32


def load_rank_model(checkpoint: Path) -> tuple[Model, dict[str, int], list[int], list[int], int]:
    """A model that reads genes by falling rank.

    Returns
    -------
    tuple
        The model; token id of each feature id; token ids before and behind the genes of a cell; most tokens of a cell.

    Raises
    ------
    ValueError
        If the checkpoint is damaged, or its model reads values of genes.
    """
    saved = read_checkpoint(checkpoint)
    name, preset = saved["run"]["recipe"], saved["run"]["preset"]
    module = load_recipe(name)
    needs = (
        f"{checkpoint} is of {name!r} and learned from {preset!r}, whose values are made of counts; bulk profiles have none, "
        "and any scale for them would be invented. A model of ranks reads them, as masked_gene_modelling --preset geneformer-v2"
    )
    if not any("rank" in style.kinds for style in module.STYLES):
        raise ValueError(needs)
    # names of special tokens, which need no published file
    tokenizer = scdata.load_tokenizer(wanted_preset(saved, module).removesuffix("+fit") + "+fit").preset
    if tokenizer.value.kind != "rank":
        raise ValueError(needs)
    is_gene = saved["model"]["is_gene"]
    model = module.RankModel(saved["marginals"], is_gene, module.Config(**{**saved["config"], "device": "cpu"}))
    model.load_state_dict(saved["model"])
    genes = dict(zip(saved["genes"], is_gene.nonzero().flatten().tolist(), strict=True))
    special = dict(zip(tokenizer.vocab.special, (~is_gene).nonzero().flatten().tolist(), strict=True))
    before, behind = ([special[token] for token in part] for part in (tokenizer.genes.prepend, tokenizer.genes.append))
    return model.eval(), genes, before, behind, saved["config"]["context_length"]


@torch.no_grad()
def embed_profiles(checkpoint: Path, values: np.ndarray, ids: Sequence[str]) -> tuple[np.ndarray, int]:
    """Embeddings of profiles, whose genes enter by falling value, as many as the model's context takes.

    There are no counts to divide by a total, and no medians over a corpus that would fit the values: genes that are high in
    every profile come first in every profile.

    Parameters
    ----------
    checkpoint
        Of a model of ranks.
    values
        float (N, G), finite, comparable over the genes of a profile.
    ids
        Feature id of each gene; of one that stands twice the higher value counts.

    Returns
    -------
    tuple
        float32 (N, D), and how many of the genes the model knows.

    Raises
    ------
    ValueError
        As `load_rank_model` does, and if the model knows none of the genes.
    """
    model, tokens, before, behind, context = load_rank_model(checkpoint)
    known = [place for place, gene in enumerate(ids) if gene in tokens]
    if not known:
        raise ValueError(
            f"{checkpoint} knows none of the {len(ids):,} genes, such as {ids[0]!r}: it has {next(iter(tokens))!r}"
        )
    of_place = torch.tensor([tokens[ids[place]] for place in known])
    n = min(len(set(of_place.tolist())), context - len(before) - len(behind))

    def cells() -> Iterator[torch.Tensor]:
        for row in values[:, known]:
            ranked = of_place[np.argsort(-row, kind="stable")].tolist()
            yield torch.tensor([*before, *list(dict.fromkeys(ranked))[:n], *behind])

    token_ids = torch.stack(list(cells()))
    batches = token_ids.split(BATCH_SIZE)
    rows = [
        model.embed({"token_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}) for ids in batches
    ]
    return torch.cat(rows).numpy(), len(set(of_place.tolist()))

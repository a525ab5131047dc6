"""Lengths and values of the tokens that presets make of a set."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scdata._errors import ScdataError
from scdata._optional import need
from scdata.report.tally import largest_split
from scdata.shard.block import COUNTS
from scdata.shard.shard_set import ShardSet
from scdata.tokens.preset import preset_names

N_CELLS = 1000  # a fair sample, because a set is stored in random order
_BINNED = ("quantile", "edges", "depth_edges", "levels")
_STEPS = 24  # of the histogram of lengths


def presets_of(shards: ShardSet) -> list[dict[str, Any]]:
    """What each preset makes of the first cells of the largest split: of a set of tokens, its own.

    Returns
    -------
    list of dict
        ``name``, and either ``problem`` (why it cannot be made here, and what to do), or ``cells``, ``context`` (most tokens
        of a cell, None: no limit), ``at_context`` (cells that fill it), ``length`` (min, 5 %, median, 95 %, max), ``lengths``
        (``edges``, ``cells``: a histogram), and ``bins``: how often each value from 0 stands at a gene, where values are
        bins or levels; else None.
    """
    if not shards.manifest["n_cells"]:
        return []
    if shards.encoding != COUNTS:
        return [_made(shards, shards.tokenizer.name)]
    return [_made(shards, name) for name in _names(shards)]


def _names(shards: ShardSet) -> Iterator[str]:
    own = shards.tokenizer.name
    yield own
    # with the set's own genes, so that nothing need be downloaded
    yield from (name for name in (f"{name}+fit" for name in preset_names() if name != "counts") if name != own)


def _made(shards: ShardSet, name: str) -> dict[str, Any]:
    need("torch", "make tokens of presets")
    from scdata.batch.dataset import ShardDataset

    split = largest_split(shards)
    n = min(N_CELLS, int(shards.manifest["splits"][split]["n_cells"]))
    own = shards.tokenizer.name
    try:
        ds = ShardDataset(
            str(shards.path), split=split, tokenizer=None if name == own else name, output="packed", batch_size=n,
            subset=n, shuffle=False, num_threads=0,
        )  # fmt: skip
        [batch] = ds
    except ScdataError as error:
        return {"name": name, "problem": str(error).replace(str(shards.path), shards.path.name)}
    lengths = np.diff(batch["cu_seqlens"].numpy())
    context, kind = ds.tokenizer.preset.context_length, ds.tokenizer.preset.value.kind
    counts, edges = np.histogram(lengths, _STEPS)
    bins = None
    if kind in _BINNED:
        values = batch["values"].numpy()[np.isin(batch["token_ids"].numpy(), ds.vocab.gene_tokens)]
        bins = np.bincount(values[values >= 0].astype(np.int64)).tolist()
    return {
        "name": name,
        "cells": n,
        "context": context,
        "at_context": None if context is None else int((lengths >= context).sum()),
        "length": np.quantile(lengths, (0, 0.05, 0.5, 0.95, 1)).tolist(),
        "lengths": {"edges": edges.tolist(), "cells": counts.tolist()},
        "bins": bins,
    }

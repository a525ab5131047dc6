"""Cells of any shape: none, empty ones, only special tokens, only genes that were not measured."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _jit, load_tokenizer
from scdata.batch.objectives.base import Setting
from scdata.batch.task import Task
from scdata.objectives import (
    JointEmbedding,
    MaskedDiffusion,
    MaskedGenes,
    MaskedValues,
    NextGene,
    PerceptionGeneration,
)
from scdata.tokens import Draws, Ragged

LIMIT = 12
OBJECTIVES = {
    "genes": ("geneformer-v2", MaskedGenes(rate=0.5)),
    "genes as geneformer": ("geneformer-v2", MaskedGenes(rate=0.5, like="geneformer")),
    "values": ("scgpt", MaskedValues(rate=0.5, replace=0.5)),
    "values as in fine-tuning": ("scgpt", MaskedValues(rate=0.5, like="scgpt-fine-tuning")),
    "zeros": ("lingshu-cell", MaskedValues(rate=0.5, zero_rate=0.2)),
    "two views": ("cell-jepa", JointEmbedding(rate=0.5)),
    "perception": ("scgpt", PerceptionGeneration(rate=(0.3, 0.7))),
    "next gene": ("transcriptformer", NextGene()),
    "next as transcriptformer": ("transcriptformer", NextGene(like="transcriptformer")),
    "next of ranks": ("geneformer-v2", NextGene(start="<cls>", end="<eos>")),
    "diffusion": ("lingshu-cell", MaskedDiffusion()),
}
# which padded mask and which row borders belong to a key
GROUPS = {"input": "input", "target": "input", "pcpt": "pcpt", "gen": "gen"}


@functools.cache
def task(name, output):
    preset, objective = OBJECTIVES[name]
    tokenizer = load_tokenizer(preset, "fit").with_genes([f"ENSG{i:011d}" for i in range(40)], {})
    setting = Setting(tokenizer, output, LIMIT, 0)
    objective.check(setting)
    return Task(objective, setting, None)


@given(
    cells=st.lists(st.lists(st.integers(0, 39), max_size=LIMIT, unique=True), max_size=5),
    seed=st.integers(0, 5),
    name=st.sampled_from(list(OBJECTIVES)),
)
@settings(max_examples=300)
def test_padded_and_packed_compiled_and_plain(cells, seed, name):
    indptr = np.concatenate(([0], np.cumsum([len(cell) for cell in cells]))).astype(np.int64)
    ids = np.array([token for cell in cells for token in cell], np.int32)
    ranks = task(name, "packed").setting.tokenizer.preset.value.kind == "rank"
    values = None if ranks else (ids * 7 % 5 - 1).astype(np.int32)  # −1: not measured, where a preset says so
    ragged, draws = Ragged(indptr, ids, values), Draws(seed, 0, np.arange(len(cells)))
    found = {}
    for output in ("padded", "packed"):
        of = [task(name, output).of_tokens(ragged, draws, seed, None, np.empty)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_jit, "available", lambda: False)
            of.append(task(name, output).of_tokens(ragged, draws, seed, None, np.empty))
        assert of[0].keys() == of[1].keys()
        for key in of[0]:
            assert np.array_equal(of[0][key], of[1][key])
        found[output] = of[0]
    padded, packed = found["padded"], found["packed"]
    for key, array in packed.items():
        if "seqlen" in key:
            continue
        rows = padded[key]
        assert rows.dtype == array.dtype
        if rows.ndim == 1:
            assert np.array_equal(rows, array)
            continue
        group = GROUPS.get(key.split("_")[0])
        group = group if f"{group}_cu_seqlens" in packed else None  # masked genes have targets in the cells' own rows
        ends = indptr if group is None else packed[f"{group}_cu_seqlens"]
        there = np.arange(rows.shape[1]) < np.diff(ends)[:, None]
        assert there.sum() == ends[-1]  # no row is too long
        assert np.array_equal(rows[there], array)
        assert len(set(rows[~there].tolist())) <= 1
        if group is not None:
            assert np.array_equal(padded[f"{group}_mask"], there)
    special = task(name, "packed").setting.special
    if "masked" in packed and getattr(OBJECTIVES[name][1], "like", None) is None:
        assert not packed["masked"][special[ids]].any()
        if OBJECTIVES[name][0] == "lingshu-cell":
            assert not packed["masked"][values == -1].any()


def test_parameters_are_all_plain():
    """Objectives go into logs and configs: every field is a number, a word, a tuple of them, or None."""
    for _, objective in OBJECTIVES.values():
        for value in dataclasses.asdict(objective).values():
            assert value is None or isinstance(value, int | float | str | tuple)

"""Objectives on arrays of a device draw what they draw on the CPU."""

import dataclasses

import numpy as np
import pytest

from scdata import _jit, load_tokenizer
from scdata.batch.objectives.base import Cells, Column, Setting, eligible_tokens
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

LIMIT = 200
SHAPES = {"no cells": [], "empty cells": [0, 0], "one gene": [1], "cells": [40, 0, 1, LIMIT, 3, 120]}
OBJECTIVES = {
    "genes": ("geneformer-v2", MaskedGenes()),
    "genes as geneformer": ("geneformer-v2", MaskedGenes(rate=0.5, replace=0.3, random=0.4, like="geneformer")),
    "values": ("scgpt", MaskedValues(rate=(0.2, 0.8), replace=0.7)),
    "values as in fine-tuning": ("scgpt", MaskedValues(rate=0.4, like="scgpt-fine-tuning")),
    "zeros too": ("lingshu-cell", MaskedValues(rate=0.3, zero_rate=0.03)),
    "log-normalized": ("scfoundation", MaskedValues(rate=0.3, mask_value=-1.5)),
    "two views": ("cell-jepa", JointEmbedding()),
    "perception": ("scgpt", PerceptionGeneration()),
    "next gene": ("transcriptformer", NextGene()),
    "next as transcriptformer": ("transcriptformer", NextGene(like="transcriptformer")),
    "next of ranks": ("geneformer-v2", NextGene(start="<cls>", end="<eos>")),
    "diffusion": ("lingshu-cell", MaskedDiffusion(weight="elbo")),
}


@pytest.fixture
def case(rng):
    """A function: how an objective is used, and cells of random tokens, special ones among them."""

    def make(name, shape):
        preset, objective = OBJECTIVES[name]
        tokenizer = load_tokenizer(preset, "fit").with_genes([f"ENSG{i:011d}" for i in range(400)], {})
        setting = Setting(tokenizer, "padded", LIMIT, 0)
        objective.check(setting)
        indptr = np.concatenate(([0], np.cumsum(SHAPES[shape]))).astype(np.int64)
        n = int(indptr[-1])
        ids = [rng.permutation(tokenizer.genes().n_tokens)[:k] for k in SHAPES[shape]]
        values = None
        if tokenizer.preset.value.kind != "rank":
            values = rng.integers(-1, 40, n).astype(np.float32 if tokenizer.preset.float_values else np.int32)
        return objective, setting, Ragged(indptr, np.concatenate([*ids, np.empty(0)]).astype(np.int32), values)

    return make


def applied(objective, setting, ragged, cell_id, number):
    cells = Cells(*vars(ragged).values(), eligible_tokens(ragged, setting), Draws(5, 1, cell_id), number, LIMIT)
    return objective.apply(cells, setting)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_like_the_cpu(device, case, name, shape):
    objective, setting, ragged = case(name, shape)
    cell_id = np.arange(len(ragged.indptr) - 1) * 7
    values = None if ragged.values is None else device(ragged.values)
    there = Ragged(device(ragged.indptr), device(ragged.token_ids), values)
    for number in range(3):
        expected = applied(objective, setting, ragged, cell_id, number)
        found = applied(objective, setting, there, device(cell_id), number)
        assert list(found) == list(expected)
        for key, own in expected.items():
            other = found[key]
            if isinstance(own, Column):
                assert (own.rows is None) == (other.rows is None)
                assert own.pad == other.pad
                if own.rows is not None:
                    assert device.back(other.rows.indptr).tolist() == own.rows.indptr.tolist()
                    assert (own.rows.name, own.rows.width) == (other.rows.name, other.rows.width)
                own, other = own.array, other.array
            other = device.back(other)
            assert other.dtype == own.dtype
            assert other.tolist() == own.tolist()


@pytest.mark.parametrize("output", ["padded", "packed"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_batches_are_those_of_the_cpu(device, case, name, shape, output):
    objective, setting, ragged = case(name, shape)
    task = Task(objective, dataclasses.replace(setting, output=output), None)
    cell_id = np.arange(len(ragged.indptr) - 1) * 7
    values = None if ragged.values is None else device(ragged.values)
    there = Ragged(device(ragged.indptr), device(ragged.token_ids), values)
    for dtype in (None, np.int64):
        expected = task.of_tokens(ragged, Draws(5, 1, cell_id), 1, dtype, np.empty)
        found = task.of_tokens(there, Draws(5, 1, device(cell_id)), 1, dtype, device.cupy.empty)
        same(device, found, expected)


@pytest.mark.parametrize("name", ["values", "zeros too", "log-normalized", "two views", "diffusion"])
def test_dense_batches_are_those_of_the_cpu(device, rng, case, name):
    objective, setting, _ = case(name, "cells")
    task = Task(objective, dataclasses.replace(setting, output="dense"), None)
    tokens = setting.tokenizer.genes().gene_tokens[::3]
    values, measured = rng.integers(-1, 9, (5, len(tokens))).astype(np.int32), rng.random((5, len(tokens))) < 0.8
    expected = task.of_columns(values, tokens, measured, Draws(5, 1, np.arange(5)), 2)
    there = device(values, measured)
    found = task.of_columns(there[0], tokens, there[1], Draws(5, 1, device(np.arange(5))), 2)
    same(device, found, expected)


def same(device, found, expected):
    assert list(found) == list(expected)
    for key, own in expected.items():
        if isinstance(own, int):
            assert found[key] == own
            continue
        other = device.back(found[key])
        assert other.dtype == own.dtype
        assert np.array_equal(other, own)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_cpu_without_numba(case, monkeypatch, name):
    objective, setting, ragged = case(name, "cells")
    cell_id = np.arange(6)
    compiled = applied(objective, setting, ragged, cell_id, 0)
    monkeypatch.setattr(_jit, "available", lambda: False)
    for key, own in applied(objective, setting, ragged, cell_id, 0).items():
        other = compiled[key]
        pair = (own.array, other.array) if isinstance(own, Column) else (own, other)
        assert pair[0].dtype == pair[1].dtype
        assert pair[0].tolist() == pair[1].tolist()

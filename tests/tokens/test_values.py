"""The value of each gene, kind by kind, against plain Python; scaling and clipping."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata import _jit
from scdata.tokens import Draws
from scdata.tokens.fitted import Fitted
from scdata.tokens.value_table import ValueTable
from scdata.tokens.values import gene_values, scale_and_clip

LARGEST = 2**31 - 1
COUNT = st.one_of(st.integers(1, 4), st.integers(98, 112), st.integers(1, LARGEST))
CELLS = st.lists(st.lists(COUNT, max_size=9), max_size=5)


def arrays(cells):
    """indptr, token ids, counts, totals."""
    indptr = np.cumsum([0, *map(len, cells)])
    counts = np.array([count for cell in cells for count in cell], np.int32)
    ids = np.concatenate([np.arange(len(cell)) for cell in cells] or [[]]).astype(np.int32)
    return indptr, ids, counts, np.array([sum(cell) for cell in cells], np.int64)


def values(table, cells, fitted=None, draws=None):
    indptr, ids, counts, total = arrays(cells)
    found = gene_values(table, fitted or Fitted(), indptr, ids, counts, total, draws)
    assert found.dtype == (np.float32 if table.kind == "lognorm" else np.int32)
    return [found[a:b].tolist() for a, b in itertools.pairwise(indptr.tolist())]


@pytest.fixture(params=[True, False], ids=["numba", "numpy"], autouse=True)
def _jit_or_not(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(_jit, "available", lambda: False)


@given(CELLS, st.sampled_from([None, 1, 30, 100, LARGEST, LARGEST + 1, 10**12]))
def test_counts(cells, clip):
    expected = [[count if clip is None else min(count, clip) for count in cell] for cell in cells]
    assert values(ValueTable(kind="counts", clip=clip), cells) == expected
    # a scale comes after the cut, and the clip after it
    assert values(ValueTable(kind="counts", clip=clip, scale=10.0), cells) == cells


@given(CELLS, st.sampled_from([1.0, 1e4, 1e6]))
def test_lognorm(cells, target_sum):
    expected = [[float(np.float32(np.log1p(x / sum(cell) * target_sum))) for x in cell] for cell in cells]
    assert values(ValueTable(kind="lognorm", target_sum=target_sum), cells) == expected


@given(CELLS)
def test_levels(cells):
    table = ValueTable(kind="levels", level_starts=(0, 10, 100), level_steps=(2, 30))
    by_hand = [[x // 2 if x < 10 else 5 + (x - 10) // 30 if x < 100 else 8 for x in cell] for cell in cells]
    assert values(table, cells) == by_hand


@given(CELLS, st.sampled_from([3, 11, 51]), st.integers(0, 9))
def test_quantile_bins(cells, n_bins, epoch):
    drawn = Draws(0, epoch, np.arange(len(cells)))
    upper = values(ValueTable(kind="quantile", n_bins=n_bins), cells)
    assert values(ValueTable(kind="quantile", n_bins=n_bins), cells, draws=drawn) == upper
    random = ValueTable(kind="quantile", n_bins=n_bins, ties="random")
    assert values(random, cells) == upper  # nothing to draw from
    for cell, high, some in zip(cells, upper, values(random, cells, draws=drawn), strict=True):
        edges = np.quantile(np.array(cell, float), np.linspace(0, 1, n_bins - 1)) if cell else []
        assert high == [sum(edge <= x for edge in edges) for x in cell]
        low = [min(sum(edge < x for edge in edges) + 1, h) for x, h in zip(cell, high, strict=True)]
        assert all(a <= b <= c for a, b, c in zip(low, some, high, strict=True))


@given(CELLS, st.lists(st.floats(0.01, 9), min_size=1, max_size=6, unique=True))
def test_edges(cells, edges):
    edges = sorted(edges)
    relative = np.expm1(edges)
    by_hand = [[1 + sum(edge <= x / sum(cell) * 1e4 for edge in relative) for x in cell] for cell in cells]
    assert values(ValueTable(kind="edges"), cells, Fitted(edges=np.array([edges]))) == by_hand


@given(CELLS)
def test_depth_edges(cells):
    edges, borders = np.array([[1.0, 2.0], [3.0, 8.0], [0.5, 9.0]]), np.array([4, 200])
    by_hand = []
    for cell in cells:
        own = np.expm1(edges[sum(border <= sum(cell) for border in borders)])
        by_hand.append([1 + sum(edge <= x / sum(cell) * 1e4 for edge in own) for x in cell])
    assert values(ValueTable(kind="depth_edges"), cells, Fitted(edges=edges, borders=borders)) == by_hand


@given(CELLS, st.sampled_from([1.0, 1000.0, 1e4]), st.sampled_from([None, 30]))
def test_scale_then_clip(cells, scale, clip):
    indptr, _, counts, _ = arrays(cells)
    found = scale_and_clip(ValueTable(kind="counts", scale=scale, clip=clip), indptr, counts)
    assert found.dtype == np.float32
    by_hand = [x / sum(cell) * scale for cell in cells for x in cell]
    assert found.tolist() == [float(np.float32(x if clip is None else min(x, clip))) for x in by_hand]


def test_no_cells_and_empty_cells():
    edges = Fitted(edges=np.array([[1.0]]), borders=np.empty(0, np.int64))
    for cells in ([], [[], []]):
        for kind in ("counts", "lognorm", "quantile", "edges", "depth_edges"):
            assert values(ValueTable(kind=kind), cells, edges) == cells
        indptr, _, counts, _ = arrays(cells)
        assert scale_and_clip(ValueTable(kind="counts", scale=1.0), indptr, counts).tolist() == []

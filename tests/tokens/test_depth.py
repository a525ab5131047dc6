"""Depths as tokens: log10 of totals by each rule, and strata."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.tokens import load_preset
from scdata.tokens.depth import depth_tokens, log10_depths, strata
from scdata.tokens.fitted import Fitted
from scdata.tokens.tables import DepthKeys

TOTALS = st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=6)


def columns(pairs):
    target, source = np.array(pairs, np.int64).reshape(-1, 2).T
    return target, source


@given(TOTALS, st.sampled_from(["t4", "t0", "f1", "f2.5", "f10", "a5", "a0", "a0.5"]))
def test_log10_of_totals(pairs, rule):
    number = float(rule[1:])
    found = log10_depths(DepthKeys(tokens=("target", "source"), target=rule), *columns(pairs))
    assert (found.dtype, found.shape) == (np.float64, (len(pairs), 2))
    for (target, source), (t, s) in zip(pairs, found.tolist(), strict=True):
        n = max(target, 1)  # an empty cell counts as one
        expected = number if rule[0] == "t" else math.log10(n * number) if rule[0] == "f" else math.log10(n) + number
        assert t == pytest.approx(expected, rel=1e-15, abs=1e-300)
        assert s == pytest.approx(math.log10(max(source, 1)), rel=1e-15)


@given(TOTALS)
def test_the_order_and_number_of_depths_is_the_tables(pairs):
    both = log10_depths(DepthKeys(tokens=("target", "source")), *columns(pairs))
    for tokens, at in ((("source", "target"), [1, 0]), (("source",), [1]), (("target",), [0]), ((), [])):
        assert log10_depths(DepthKeys(tokens=tokens), *columns(pairs)).tolist() == both[:, at].tolist()


@given(st.sets(st.integers(1, 1000), max_size=5), st.lists(st.integers(0, 1001), max_size=8))
def test_strata_begin_at_their_borders(borders, totals):
    ordered = sorted(borders)
    found = strata(np.array(ordered, np.int64), np.array(totals, np.int64))
    assert found.tolist() == [sum(border <= total for border in ordered) for total in totals]


def test_tokens_of_log10_depths():
    preset = load_preset("scfoundation")
    ids, values = depth_tokens(preset, Fitted(), {"<S>": 8, "<T>": 9}, np.array([1000, 10]), np.array([100, 0]))
    assert ids.tolist() == [[9, 8], [9, 8]]
    assert values.tolist() == [[3.0, 2.0], [1.0, 0.0]]
    assert values.dtype == np.float32


def test_tokens_of_strata():
    preset = load_preset("depth-bins")
    special = {f"<depth:{i}>": 40 + i for i in range(16)}
    fitted = Fitted(borders=np.array([10, 100]))
    ids, values = depth_tokens(preset, fitted, special, np.array([999, 0, 7]), np.array([9, 10, 5000]))
    assert ids.tolist() == [[40], [41], [42]]  # of the cell as it is read
    assert (values.tolist(), values.dtype) == ([[0], [0], [0]], np.int32)


def test_no_cells():
    empty = np.empty(0, np.int64)
    for name in ("scfoundation", "depth-bins"):
        preset = load_preset(name)
        special = {token: i for i, token in enumerate(preset.special)}
        ids, values = depth_tokens(preset, Fitted(borders=empty), special, empty, empty)
        assert ids.shape == values.shape == (0, len(preset.depth.tokens))

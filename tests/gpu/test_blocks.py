"""Whole blocks of cells through the device, for every preset."""

import numpy as np
import pytest

from scdata.normalize.library_size import library_size
from scdata.tokens import load_tokenizer, preset_names
from scdata.tokens.device import GeneCounts, tokenize_blocks
from scdata.tokens.fitted import DEPTH_EDGES, EDGES, HVG, MEDIANS
from scdata.tokens.sequence import Ragged

N_GENES = 400


def fitted(name):
    """A preset over genes of our own, with numbers in place of fitted ones."""
    rng = np.random.default_rng(5)
    tokenizer = load_tokenizer(name, assets="fit").with_genes([f"ENSG{i:011d}" for i in range(N_GENES)], {})
    value = tokenizer.preset.value
    numbers = {
        MEDIANS: rng.uniform(0.5, 20, N_GENES),
        HVG: np.sort(rng.permutation(N_GENES)[:100]).astype(np.int32),
        EDGES: np.sort(rng.uniform(0, 9, (1, value.n_bins - 2))),
        DEPTH_EDGES: np.sort(rng.uniform(0, 9, (value.strata, value.n_bins - 2)), axis=1),
    }
    names = {MEDIANS: "medians", HVG: "selected", EDGES: "edges", DEPTH_EDGES: "edges"}
    found = {names[what]: numbers[what] for what in tokenizer.unfitted}
    if DEPTH_EDGES in tokenizer.unfitted:
        found["borders"] = np.sort(rng.integers(1, 3000, value.strata - 1))
    return tokenizer.with_fitted(**found)


def block(rng, lengths):
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    genes = np.concatenate([np.empty(0, int), *(np.sort(rng.permutation(N_GENES)[:n]) for n in lengths)]).astype(
        np.int32
    )
    counts = rng.geometric(0.2, len(genes)).astype(np.int32)
    return GeneCounts(indptr, genes, counts, library_size(indptr, counts) + 7)


def blocks(rng):
    """Blocks that grow and shrink, empty ones among them."""
    sizes = ([3, 0, 50], [], [200, 10], [0], [400, 1, 1, 0, 90], [5], [120, 300, 4])
    return [block(rng, lengths) for lengths in sizes]


def same(found, expected):
    for one, other in (
        (found.indptr, expected.indptr),
        (found.token_ids, expected.token_ids),
        (found.values, expected.values),
    ):
        if other is None:
            assert one is None
            continue
        assert type(one) is np.ndarray
        assert one.dtype == other.dtype
        if other.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=1e-6)
        else:
            assert one.tolist() == other.tolist()


@pytest.mark.parametrize("name", preset_names())
def test_presets_give_the_tokens_of_the_cpu(device, rng, name):
    tokenizer = fitted(name)
    given = blocks(rng)
    found = list(tokenize_blocks(tokenizer, iter(given)))
    assert len(found) == len(given)
    for one, own in zip(found, given, strict=True):
        same(one, tokenizer.tokenize(own.indptr, own.genes, own.counts, own.total))


class Echo:
    """Gives back what it gets, so that results are the memory that blocks were copied to."""

    def tokenize(self, indptr, genes, counts, total):
        return Ragged(indptr, genes, counts)


@pytest.mark.parametrize("late", [(True, True), (False, True), (True, False), (False, False)])
def test_copies_wait_for_what_they_need(device, rng, late):
    if not device.real:
        device.cupy.state.late, device.cupy.state.n_streams = late, 0
    given = blocks(rng) * 3
    for one, own in zip(tokenize_blocks(Echo(), given), given, strict=True):
        same(one, Ragged(own.indptr, own.genes, own.counts))


def test_blocks_are_read_one_ahead(device, rng):
    taken = []

    def source():
        for i, own in enumerate(blocks(rng)):
            taken.append(i)
            yield own

    results = tokenize_blocks(Echo(), source())
    next(results)
    assert taken == [0, 1, 2]
    results.close()


def test_no_blocks(device):
    assert list(tokenize_blocks(Echo(), [])) == []


def test_an_error_of_the_source_comes_through(device, rng):
    def source():
        yield block(rng, [3])
        raise OSError("the file is cut")

    with pytest.raises(OSError, match="cut"):
        list(tokenize_blocks(Echo(), source()))

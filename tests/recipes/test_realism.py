"""Sampled cells beside real ones: figures stand beside those of a generator without a model, and see what that lacks."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy import sparse

pytest.importorskip("torch")
pytest.importorskip("sklearn")


@pytest.fixture
def realism(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("common/realism")


def cells(n: int, seed: int, n_genes: int = 60) -> sparse.csr_matrix:
    """Two kinds of cells; each has more of its half of the genes."""
    generator = np.random.default_rng(seed)
    rate, own = np.geomspace(0.2, 5, n_genes), np.arange(n_genes) % 2
    kind = generator.integers(2, size=n)[:, None]
    return sparse.csr_matrix(generator.poisson(np.where(kind == own, 2 * rate, 0.2 * rate)))


def test_what_only_pairs_of_genes_show(realism: ModuleType) -> None:
    found = realism.compare(cells(150, 0), cells(150, 1), cells(400, 2))
    assert found["n_cells"] == 150
    assert abs(found["sampled"]["auroc_pairs"] - 0.5) < 0.15
    assert abs(found["other real cells"]["auroc_pairs"] - 0.5) < 0.15
    alone = found["each gene on its own"]
    assert alone["mean_correlation"] > 0.9
    assert alone["variance_correlation"] > 0.9
    assert alone["auroc_pairs"] > 0.95
    lines = realism.table(found)
    assert [line.split("  ")[1] for line in lines[1:4]] == ["sampled", "each gene on its own", "other real cells"]


def test_other_means_show_in_single_genes(realism: ModuleType) -> None:
    wrong = cells(100, 1)
    wrong.data = wrong.data * np.where(wrong.indices % 3 == 0, 4, 1)
    found = realism.compare(cells(100, 0), wrong, cells(200, 2))
    assert found["sampled"]["auroc_linear"] > found["each gene on its own"]["auroc_linear"] + 0.2
    assert found["sampled"]["mean_correlation"] < found["each gene on its own"]["mean_correlation"]


def test_independent_genes_keep_their_values(realism: ModuleType) -> None:
    known = cells(300, 0)
    drawn = realism.independent_genes(known.tocsc(), 3000, seed=0)
    share = (drawn > 0).mean(0)
    np.testing.assert_allclose(share, (known.toarray() > 0).mean(0), atol=0.05)
    np.testing.assert_allclose(drawn.mean(0), known.toarray().mean(0), atol=0.25)
    assert set(np.unique(drawn)) <= set(np.unique(known.toarray()))


def test_too_few_cells(realism: ModuleType) -> None:
    with pytest.raises(ValueError, match="6 cells to compare, at least 10"):
        realism.compare(cells(50, 0), cells(6, 1), cells(50, 2))
    with pytest.raises(ValueError, match="60, 40 and 60 genes"):
        realism.compare(cells(50, 0), cells(50, 1, 40), cells(50, 2))

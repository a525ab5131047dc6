"""scTOP's profiles: against its own code, and against what they are by definition."""

import gzip
import json
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA
from tasks.sctop import components, label_profiles, project, rank_profiles

from scdata.resources import resource

GOLDEN = Path(__file__).resolve().parents[2] / "golden_demo" / "sctop.json.gz"
# what sctop.processing.process gives (commit d71c7d7); the last one: with average=True
COUNTS = [[3, 0, 1, 7, 0, 2, 1, 12], [0, 5, 0, 0, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]]
TINY = [
    [0.20745263, -0.46594250, -0.13592471, 0.36830968, -0.46594250, 0.06728914, -0.13592471, 0.58790106],
    [-0.17663991, 0.76400232, -0.17663991, -0.17663991, 0.47863400, -0.17663991, -0.17663991, -0.17663991],
]
TINY_MEAN = [-0.06693488, 0.58480591, -0.46348941, 0.20636044, 0.06693488, -0.20636044, -0.46348941, 0.36637059]


def test_profiles_of_the_original_code() -> None:
    golden = json.loads(gzip.decompress(GOLDEN.read_bytes()))["cells"]
    counts = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad")).X[[cell["row"] for cell in golden]]
    profiles = rank_profiles(sparse.csr_matrix(counts)).dense()
    for cell, own, profile in zip(golden, counts.toarray(), profiles, strict=True):
        expected = np.array([cell["count_to_z"][str(int(count))] for count in own])
        # the original sums its norm in float32, and says what it came to
        np.testing.assert_allclose(profile, expected / cell["norm"], rtol=2e-6)


def test_small_profiles_of_the_original_code() -> None:
    counts = sparse.csr_matrix(np.array(COUNTS))
    profiles = rank_profiles(counts).dense()
    np.testing.assert_allclose(profiles[:2], TINY, atol=1e-7)
    # the original divides by zero here
    assert not profiles[2].any()


def test_profile_of_a_label_is_that_of_its_mean_cell() -> None:
    counts = sparse.csr_matrix(np.array(COUNTS))
    names, basis = label_profiles(counts, np.array(["b", "b", "b"]))
    assert list(names) == ["b"]
    np.testing.assert_allclose(basis[:, 0], TINY_MEAN, atol=1e-7)


def test_projection_is_least_squares(demo) -> None:
    profiles = rank_profiles(demo.counts[:50])
    _, basis = label_profiles(demo.counts, demo.obs["condition"].to_numpy(str))
    expected = np.linalg.lstsq(basis, profiles.dense().T, rcond=None)[0].T
    np.testing.assert_allclose(project(profiles, basis), expected, rtol=1e-8)


def test_components_are_those_of_the_dense_profiles_of_training(demo) -> None:
    profiles, train = rank_profiles(demo.counts[:150]), np.arange(100)
    dense = profiles.dense()
    expected = PCA(10, svd_solver="full").fit(dense[train]).transform(dense)
    found = components(profiles, train, 10, seed=3)
    assert found.dtype == np.float32
    sign = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * sign, expected, atol=1e-4)
    assert components(profiles, np.arange(5), 10, seed=3).shape == (150, 4)


@pytest.mark.parametrize("row", [[0, 0, 0, 0], [2, 2, 2, 2]])
def test_a_cell_of_equal_genes_is_zero(row: list[int]) -> None:
    assert not rank_profiles(sparse.csr_matrix(np.array([row]))).dense().any()

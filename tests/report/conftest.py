import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scdata
from scdata.report import presets
from scdata.report import set_numbers as measured
from scdata.report.page import report_page
from scdata.report.set_numbers import set_numbers
from scdata.resources import resource
from tests.report.page import Page


@pytest.fixture(scope="session", autouse=True)
def _short_measures():
    """What is measured by the clock takes no longer than it must."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "_SECONDS", 0.01)
        yield


@pytest.fixture(autouse=True)
def _few_presets(monkeypatch):
    """Small sets are not made to tokens of all presets; the shipped cells, whose fixtures are of the session, are."""
    monkeypatch.setattr(presets, "preset_names", lambda: ["counts", "geneformer-v2", "scgpt"])


@pytest.fixture(scope="session")
def demo_set(tmp_path_factory):
    """The shipped cells, fitted, in two splits, less those of few genes."""
    out = tmp_path_factory.mktemp("sets") / "demo.set"
    scdata.build_shards(
        resource("demo/demo_pbmc_ifnb_1k.h5ad"),
        out,
        splits=["val=0.1"],
        block_size=128,
        shard_size=1 << 18,
        min_genes=520,
    )
    scdata.fit_set(out)
    return out


@pytest.fixture(scope="session")
def demo_numbers(demo_set):
    return set_numbers(demo_set)


@pytest.fixture(scope="session")
def demo_page(demo_numbers):
    return Page(report_page([demo_numbers]))


@pytest.fixture
def make_h5ad(tmp_path):
    """A function that writes counts, cells × genes, with obs columns and names of genes."""

    def make(name, X, obs=None, genes=None):
        X = sparse.csr_matrix(np.asarray(X, np.float32))
        frame = pd.DataFrame(obs or {}, index=[f"cell{i}" for i in range(X.shape[0])])
        var = pd.DataFrame(index=genes or [f"gene{i}" for i in range(X.shape[1])])
        anndata.AnnData(X, obs=frame, var=var).write_h5ad(tmp_path / f"{name}.h5ad")
        return tmp_path / f"{name}.h5ad"

    return make


@pytest.fixture
def make_set(make_h5ad):
    """A function that builds a set of such a file."""

    def make(name, X, obs=None, genes=None, **options):
        path = make_h5ad(name, X, obs, genes)
        scdata.build_shards(path, path.with_suffix(".set"), **options)
        return path.with_suffix(".set")

    return make

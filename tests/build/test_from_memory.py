"""A set from an AnnData in memory is that of its file."""

from pathlib import Path

import anndata
import pytest

import scdata
from scdata.resources import resource

CELLS = "demo/demo_pbmc_ifnb_1k.h5ad"


def test_equals_the_set_of_the_file(tmp_path: Path) -> None:
    adata = anndata.read_h5ad(resource(CELLS))
    # text that writing would turn into categories
    adata.obs["name"] = [f"cell {i % 7}" for i in range(adata.n_obs)]
    before = adata.obs.dtypes.to_dict()
    made = scdata.from_anndata(adata, tmp_path / "memory.set", splits=["val=0.1"])
    assert adata.obs.dtypes.to_dict() == before
    adata.copy().write_h5ad(tmp_path / "cells.h5ad")
    of_file = scdata.build_shards(tmp_path / "cells.h5ad", tmp_path / "file.set", splits=["val=0.1"])
    assert made == of_file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "file.set", "memory.set"]
    again = scdata.to_anndata(tmp_path / "memory.set", split="val")
    assert sorted(again.obs["name"].unique()) == [f"cell {i}" for i in range(7)]


def test_what_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="str is no AnnData: files and addresses are for build_shards"):
        scdata.from_anndata(str(resource(CELLS)), tmp_path / "x.set")
    adata = anndata.read_h5ad(resource(CELLS))[:5].copy()
    adata.X = adata.X * 0.5
    with pytest.raises(scdata.ScdataError, match=r"not whole|integer|normalized|counts"):
        scdata.from_anndata(adata, tmp_path / "x.set")
    assert not list(tmp_path.iterdir())

import shutil
from pathlib import Path

import pytest

import scdata


@pytest.fixture(scope="session")
def source_uri():
    return "synthetic:cells=700,genes=900,mean_genes=300"


@pytest.fixture(scope="session")
def built_set(source_uri, tmp_path_factory):
    """A small set of two splits and several shards, never to be changed."""
    out = tmp_path_factory.mktemp("built") / "set"
    scdata.build_shards(source_uri, out, splits=["val=0.2"], block_size=50, shard_size=65536)
    return out


@pytest.fixture
def shard_set(built_set, tmp_path) -> Path:
    """A copy of the set, to be damaged."""
    return shutil.copytree(built_set, tmp_path / "set")

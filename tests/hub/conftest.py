import pytest

import scdata
from scdata.resources import resource
from scdata.shard.shard_set import ShardSet


@pytest.fixture(scope="session")
def demo_set(tmp_path_factory):
    """The shipped cells in several shards of small blocks."""
    out = tmp_path_factory.mktemp("sets") / "demo.set"
    scdata.build_shards(
        str(resource("demo/demo_pbmc_ifnb_1k.h5ad")), out, splits=["val=0.1"], block_size=128, shard_size=1 << 18
    )
    return ShardSet(out)

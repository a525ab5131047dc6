"""Sets to publish, and what a Hub must hold of them."""

import scdata
from scdata.hub.card import dataset_card
from scdata.resources import resource
from scdata.shard.manifest import MANIFEST
from scdata.shard.shard_set import ShardSet

REPO = "ann/pbmc"


def build(out, **options):
    """The shipped cells in several shards of small blocks."""
    source = str(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
    scdata.build_shards(source, out, **{"splits": ["val=0.1"], "block_size": 128, "shard_size": 1 << 18, **options})
    return ShardSet(out)


def on_disk(shards):
    """path → bytes of the files that a set on the Hub has in common with its folder."""
    root = shards.path
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def assert_holds(hub, shards, revision="main", repo_id=REPO):
    """The revision holds the set, its card and preview, and nothing else of ours."""
    found = hub.files(repo_id, revision)
    found.pop(".gitattributes", None)
    assert found.pop("README.md").decode() == dataset_card(shards, repo_id)
    assert found.pop("preview/cells.parquet")[:4] == b"PAR1"
    assert found == on_disk(shards)


def whole_or_nothing(hub, sets, repo_id=REPO):
    """Every commit of main holds no manifest, or one with all that it names."""
    seen = []
    by_hash = {shards.path.joinpath(MANIFEST).read_bytes(): shards for shards in sets}
    for sha, _ in hub.repos[repo_id].log["main"]:
        files = hub.files(repo_id, sha)
        if MANIFEST in files:
            shards = by_hash[files[MANIFEST]]
            assert all(files[path] == data for path, data in on_disk(shards).items())
            seen.append(shards)
    return seen

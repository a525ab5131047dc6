"""With Xet: bytes go to a store in chunks, by the client's own library, and the Hub sees tokens and hashes only."""

import hf_xet
import pytest

import scdata
from scdata._errors import CorruptShardError, StorageError
from scdata.hub.files import published_files
from tests.hub.sets import REPO, assert_holds, build

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def xet_hashes(shards, folder):
    """sha256 → Xet's hash of each file of a set."""
    folder.mkdir()
    found = {}
    for i, file in enumerate(published_files(shards, REPO)):
        path = file.source
        if isinstance(path, bytes):
            (folder / str(i)).write_bytes(path)
            path = folder / str(i)
        [known] = hf_xet.hash_files([str(path)])
        found[file.sha256] = known.hash
    return found


@pytest.fixture
def xet_hub(start_hub, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    return start_hub(xet=store)


def test_a_set_goes_through_xet_and_comes_back(xet_hub, demo_set, other_set, tmp_path):
    from huggingface_hub import snapshot_download

    for shards in (other_set, demo_set):  # the second takes the place of the first
        xet_hub.xet_hash |= xet_hashes(shards, tmp_path / shards.path.name)
        scdata.publish(shards.path, REPO)
        assert_holds(xet_hub, shards)
    assert xet_hub.count("PUT", "/large/") == xet_hub.count("POST", "/lfs/") == 0
    assert scdata.publish(demo_set.path, REPO).n_files_new == 0
    first = len(xet_hub.asked)
    folder = snapshot_download(REPO, repo_type="dataset")
    assert scdata.verify_shards(folder).ok
    assert not any("/cdn/" in path for _, path, _ in xet_hub.asked[first:])
    # blocks come by ranges all the same
    [batch] = scdata.ShardDataset(f"hf://datasets/{REPO}", batch_size=100, split="val")
    assert len(batch["cell_id"]) == 100


def test_an_altered_shard_is_not_committed(xet_hub, tmp_path):
    shards = build(tmp_path / "set")
    xet_hub.xet_hash |= xet_hashes(shards, tmp_path / "files")
    path = shards.shard_path("train", 1)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptShardError, match=r"train-000001.tar: sha256 is .*the manifest says"):
        scdata.publish(shards.path, REPO)
    assert len(xet_hub.repos[REPO].log["main"]) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "the Hub does not take the token that was found"), (403, "the token may not write to ann/pbmc")],
)
def test_a_refused_token_for_the_store_says_what_to_do(xet_hub, demo_set, status, message):
    xet_hub.fault = lambda n, method, path: status if "/xet-write-token/" in path else None
    with pytest.raises(StorageError, match=message):
        scdata.publish(demo_set.path, REPO)

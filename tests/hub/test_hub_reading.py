"""A published set is read back: by `ShardDataset`, from a snapshot, by other people's readers; and what a Hub may do then."""

import pickle
import re
import subprocess
import sys

import pytest
import torch

import scdata
from scdata import _fetch
from scdata._errors import CorruptShardError, SetNotFoundError, StorageError
from scdata.hub.card import dataset_card, tag_of
from scdata.shard.shard_set import ShardSet
from scdata.source import SourceOptions, open_sources
from tests.hub.sets import REPO

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
SET = f"hf://datasets/{REPO}"


@pytest.fixture
def published(start_hub, demo_set, monkeypatch):
    """A Hub with the demo cells, and readers that do not wait long."""
    monkeypatch.setattr(_fetch, "_WAITS_S", (0.01,) * 3)
    hub = start_hub()
    scdata.publish(demo_set.path, REPO)
    return hub


def batches(path, **arguments):
    return list(scdata.ShardDataset(path, batch_size=100, lanes=4, window=256, seed=3, **arguments))


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert torch.equal(ours[key], value) if isinstance(value, torch.Tensor) else ours[key] == value


def test_batches_are_those_of_the_local_set(published, demo_set):
    expected = batches(demo_set.path)
    for revision in ("", "@main", f"@{tag_of(demo_set)}", f"@{published.repos[REPO].find('main')}"):
        first = len(published.asked)
        assert_equal(batches(SET + revision), expected)
        # every block by a request for exactly its bytes
        asked = [(path, span) for method, path, span in published.asked[first:] if ".tar" in path]
        index = demo_set.index.to_pylist()
        wanted = {
            (f"{row['split']}-{row['shard']:06d}", f"bytes={row['offset']}-{row['offset'] + row['length'] - 1}")
            for row in index
            if row["split"] == "train"
        }
        assert sorted((re.search(r"([\w-]+)\.tar", path)[1], span) for path, span in asked) == sorted(wanted)


def test_what_is_published_meanwhile_is_not_mixed_in(published, demo_set, other_set):
    dataset = scdata.ShardDataset(SET, batch_size=100, lanes=4, window=256, seed=3)
    scdata.publish(other_set.path, REPO)
    assert_equal(list(dataset), batches(demo_set.path))
    # a worker that opens it now opens what the trainer opened
    assert_equal(list(pickle.loads(pickle.dumps(dataset))), batches(demo_set.path))
    assert_equal(batches(SET), batches(other_set.path))
    assert_equal(batches(f"{SET}@{tag_of(demo_set)}"), batches(demo_set.path))


def test_copies_do_without_the_hub(published, demo_set, tmp_path):
    expected = batches(demo_set.path)
    assert_equal(batches(SET, cache_dir=tmp_path / "copies"), expected)
    published.fault = lambda *_: 503
    with pytest.warns(UserWarning, match=f"{SET}.*going on with the copies"):
        assert_equal(batches(SET, cache_dir=tmp_path / "copies"), expected)


def test_a_hub_that_fails_now_and_then(published, demo_set):
    left = {503: 1, "cut": 1}

    def fault(n, method, path):
        kind = 503 if "/resolve/" in path else "cut" if "/cdn/" in path else None
        if kind and ".json" not in path and left[kind]:
            left[kind] -= 1
            return kind
        return None

    published.fault = fault
    assert_equal(batches(SET), batches(demo_set.path))
    assert not any(left.values())


def test_bytes_that_are_not_those_of_the_set(published, demo_set):
    dataset = scdata.ShardDataset(SET, batch_size=100)
    entry = demo_set.shards("train")[0]
    data = bytearray(published.large[entry["sha256"]])
    data[len(data) // 2] ^= 1
    published.large[entry["sha256"]] = bytes(data)
    with pytest.raises(CorruptShardError, match=r"hf://datasets/ann/pbmc@[0-9a-f]{40}/shards/000/train-000000.tar"):
        list(dataset)


@pytest.mark.parametrize("token", [None, "hf_bob", "hf_wrong"])
def test_who_may_not_read_is_told_what_to_do(published, monkeypatch, token):
    repo = published.repos[REPO]
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    repo.gated = True
    error, message = StorageError, "the Hub does not take the token that was found: make another one"
    if token != "hf_wrong":
        message = (
            "access to ann/pbmc is granted by its owner: ask for access at https://huggingface.co/datasets/ann/pbmc"
        )
    with pytest.raises(error, match=message) as raised:
        scdata.ShardDataset(SET)
    assert ("run `hf auth login`" in str(raised.value)) == (token is None)
    repo.gated, repo.private = False, True
    if token != "hf_wrong":
        error, message = SetNotFoundError, "there is no dataset ann/pbmc, or it is private and"
    with pytest.raises(error, match=message) as raised:
        scdata.ShardDataset(SET)
    assert ("run `hf auth login`" in str(raised.value)) == (token is None)
    assert token is None or token not in str(raised.value)


def test_what_is_not_there_is_named(published):
    with pytest.raises(SetNotFoundError, match="ann/pbmc has no branch, tag or commit 'v9'"):
        scdata.ShardDataset(f"{SET}@v9")
    with pytest.raises(SetNotFoundError, match="there is no dataset ann/none"):
        scdata.ShardDataset("hf://datasets/ann/none")
    repo = published.repos[REPO]
    repo.log["empty"] = repo.log["main"][:1]
    with pytest.raises(SetNotFoundError, match=r"@empty is not a set of shards: it has no manifest\.json"):
        scdata.ShardDataset(f"{SET}@empty")


def test_a_snapshot_is_a_set(published, demo_set):
    from huggingface_hub import snapshot_download

    folder = snapshot_download(REPO, repo_type="dataset", revision=tag_of(demo_set))
    assert scdata.verify_shards(folder).ok
    assert_equal(batches(folder), batches(demo_set.path))


def test_whatever_reads_sets_reads_them_there(published, demo_set, tmp_path):
    assert scdata.verify_shards(SET).ok
    for name, path in (("there", SET), ("here", demo_set.path)):
        scdata.build_shards(str(path), tmp_path / name, obs_filter="condition == 'control'")
    there, here = (ShardSet(tmp_path / name).manifest for name in ("there", "here"))
    assert there["content_hash"] == here["content_hash"]
    found, expected = (scdata.to_anndata(path, subset=50) for path in (SET, demo_set.path))
    assert (found.X != expected.X).nnz == 0
    assert found.obs.equals(expected.obs)


def test_a_build_reads_the_set_that_it_was_planned_with(published, demo_set, other_set):
    [source], [local] = (open_sources(str(path), SourceOptions()) for path in (SET, demo_set.path))
    scdata.publish(other_set.path, REPO)
    there = pickle.loads(pickle.dumps(source))  # as a worker gets it
    assert (there.n_obs, source.name) == (local.n_obs, "pbmc")
    assert there.read(slice(0, 20)).indices.tolist() == local.read(slice(0, 20)).indices.tolist()


WORKERS = """
import sys, torch, scdata
if __name__ == "__main__":
    for start in ("fork", "spawn"):
        dataset = scdata.ShardDataset(sys.argv[1], batch_size=100)
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=start)
        print(sum(len(batch["cell_id"]) for batch in loader))
"""


@pytest.mark.slow
def test_workers_read_it_too(published, environment, tmp_path):
    script = tmp_path / "read.py"
    script.write_text(WORKERS)
    command = [sys.executable, str(script), SET]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(published))
    assert done.stdout.split() == ["900", "900"], done.stderr


OTHERS = """
import sys, webdataset
from datasets import load_dataset
from huggingface_hub import hf_hub_url

def told(cells):
    print(len(cells), sum(int(c["values"].sum()) for c in cells), sum(int(c["token_ids"].sum(dtype="int64")) for c in cells))

told(cells)
repo, revision, *shards = sys.argv[1:]
urls = [hf_hub_url(repo, shard, repo_type="dataset", revision=revision) for shard in shards]
told(list(scdata.iter_cells(webdataset.WebDataset(urls, shardshuffle=False), SET)))
preview = load_dataset(repo, split="preview", revision=revision)
print(preview.num_rows, sum(map(sum, preview["counts"])), preview[0]["top"])
"""


def test_the_card_s_examples_run_and_other_people_s_readers_find_the_same_cells(published, demo_set, environment):
    streamed, downloaded, by_datasets = re.findall(r"```python\n(.*?)```", dataset_card(demo_set, REPO), re.DOTALL)
    by_datasets, _, loop = by_datasets.partition("for cell in ")
    cells = f"cells = list({re.search('(scdata.iter_cells.*?):', loop)[1]})"
    code = "\n".join(
        [streamed, "print(len(batch['token_ids']))", downloaded, "print(ds.n_cells)", by_datasets, cells, OTHERS]
    )
    shards = [f"shards/000/train-{shard['shard']:06d}.tar" for shard in demo_set.shards("train")]
    done = subprocess.run(
        [sys.executable, "-c", code, REPO, tag_of(demo_set), *shards],
        capture_output=True,
        text=True,
        env=environment(published),
    )
    assert done.returncode == 0, done.stderr
    of_batch, of_ds, by_stream, by_tars, by_preview = done.stdout.splitlines()
    assert (of_batch, of_ds) == ("256", "900")
    total = demo_set.read_obs("train")["total_counts"].to_numpy().sum()
    assert by_stream == by_tars
    assert by_stream.startswith(f"900 {total} ")
    assert by_preview.startswith(f"900 {total} FTH1 ")

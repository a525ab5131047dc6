import hashlib
import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scdata
from scdata._errors import CorruptShardError, SetNotFoundError
from scdata.shard import ShardSet
from scdata.shard.files import read_arrow, sha256_of, write_arrow

SHARD = "shards/000/train-000001.tar"


def problems(path):
    report = scdata.verify_shards(path)
    assert report.ok == (not report.problems)
    return report.problems


def change_manifest(path, change):
    table = json.loads((path / "manifest.json").read_text())
    change(table)
    (path / "manifest.json").write_text(json.dumps(table))


def sign(path, name):
    """Let the manifest name a file as it is now, as somebody would who alters a set on purpose."""
    change_manifest(path, lambda table: table["files"].update({name: sha256_of(path / name)}))


def sign_shard(path):
    def change(table):
        shard = next(s for s in table["shards"] if (s["split"], s["shard"]) == ("train", 1))
        more = (path / SHARD).stat().st_size - shard["bytes"]
        shard["bytes"] += more
        table["splits"]["train"]["bytes"] += more
        shard["sha256"] = sha256_of(path / SHARD)

    change_manifest(path, change)


def blocks_of(path, shard=1):
    blocks = ShardSet(path).blocks("train")
    own = blocks.shard == shard
    return blocks.offset[own], blocks.length[own]


def append(path, name, data):
    """Add a member before the end marker, as `tar -r` does."""
    with tarfile.open(path / SHARD, "a", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def test_a_whole_set_is_fine(built_set):
    read = []
    report = scdata.verify_shards(built_set, read.append)
    manifest = json.loads((built_set / "manifest.json").read_text())
    assert report.problems == []
    assert report.ok
    assert report.n_shards == len(manifest["shards"]) >= 3
    assert report.n_cells == manifest["n_cells"]
    assert report.n_blocks == len(ShardSet(built_set).index)
    assert read == [shard["bytes"] for shard in manifest["shards"]]


def test_any_flipped_bit_of_a_shard_is_seen(shard_set):
    whole = (shard_set / SHARD).read_bytes()
    rng = np.random.default_rng(0)
    offsets, lengths = blocks_of(shard_set)
    for block in range(len(offsets)):
        altered = bytearray(whole)
        altered[offsets[block] + rng.integers(lengths[block])] ^= 1 << rng.integers(8)
        (shard_set / SHARD).write_bytes(altered)
        found = problems(shard_set)
        assert any(p.startswith(f"{SHARD}: sha256 is ") for p in found)
        member = f"train-000001-{block:06d}.arrow"
        assert f"{SHARD}: block {member}: its bytes differ from what was written (xxh3)" in found
        assert len(found) == 3  # and the content hash of the set
    altered = bytearray(whole)
    altered[offsets[1] - 500] ^= 1  # in the header of a member
    (shard_set / SHARD).write_bytes(altered)
    assert f"{SHARD}: no tar header at byte {offsets[1] - 512}: bad checksum" in problems(shard_set)


@pytest.mark.parametrize("signed", [False, True])
def test_a_tar_cut_at_a_member_boundary_is_seen(shard_set, signed):
    offsets, _ = blocks_of(shard_set)
    cut = int(offsets[1]) - 512
    (shard_set / SHARD).write_bytes((shard_set / SHARD).read_bytes()[:cut])
    if signed:
        sign_shard(shard_set)
    found = problems(shard_set)
    assert f"{SHARD}: cut off at byte {cut}: the tar has no end marker" in found
    assert any(f"{SHARD}: block train-000001-000001.arrow: " in p and "ends at byte" in p for p in found)
    assert any("sha256" in p for p in found) != signed
    assert any(p.startswith("set: content hash is ") for p in found)


def test_members_left_out_with_a_new_end_marker_are_seen(shard_set):
    offsets, _ = blocks_of(shard_set)
    data = (shard_set / SHARD).read_bytes()[: int(offsets[-1]) - 512]
    (shard_set / SHARD).write_bytes(data + bytes(10240))
    sign_shard(shard_set)
    found = problems(shard_set)
    assert f"{SHARD}: member train-000001-{len(offsets) - 1:06d}.arrow is missing" in found


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("signed", [False, True])
def test_an_appended_pickle_is_named_and_never_loaded(shard_set, signed):
    append(shard_set, "train-000001-000099.pkl", pickle.dumps(Evil()))
    if signed:
        sign_shard(shard_set)
    found = problems(shard_set)
    assert any(p.startswith(f"{SHARD}: member 'train-000001-000099.pkl' at byte ") for p in found)
    assert any("does not belong here" in p for p in found)
    assert any("sha256" in p for p in found) != signed


def test_a_member_that_stands_twice_is_named(shard_set):
    append(shard_set, "train-000001-000000.arrow", b"other cells")
    sign_shard(shard_set)
    found = problems(shard_set)
    assert len(found) == 1
    assert found[0].startswith(f"{SHARD}: member 'train-000001-000000.arrow' stands again at byte ")


def test_missing_and_extra_files(shard_set):
    (shard_set / SHARD).unlink()
    (shard_set / "shards/000/train-000077.tar").write_bytes(b"")
    (shard_set / "obs/000/val-000000.parquet").unlink()
    found = problems(shard_set)
    assert f"{SHARD}: the shard is missing" in found
    assert "shards/000/train-000077.tar: a file that the manifest does not name" in found
    assert "obs/000/val-000000.parquet: the obs file is missing" in found


@pytest.mark.parametrize("name", ["index.arrow", "var.parquet", "vocab.json", "categories.arrow", "measured.arrow"])
def test_a_changed_or_missing_file_beside_the_manifest(shard_set, name):
    data = bytearray((shard_set / name).read_bytes())
    data[len(data) // 2] ^= 4
    (shard_set / name).write_bytes(data)
    (found,) = problems(shard_set)
    assert f"{name}: sha256 is " in found
    assert ", the manifest says " in found
    (shard_set / name).unlink()
    (found,) = problems(shard_set)
    assert f"{name}: missing, but named in the manifest" in found
    (shard_set / name).write_bytes(b"something else")
    sign(shard_set, name)
    (found,) = problems(shard_set)
    assert name in found
    change_manifest(shard_set, lambda table: table["files"].pop(name))
    (found,) = problems(shard_set)
    assert f"{name}: not named in the manifest" in found


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("n_cells", 51, "split val: n_cells is "),
        ("nnz", 3, " of 3"),
        ("xxh3", 3, "its bytes differ"),
        ("offset", 1024, "its bytes differ"),
        ("length", 2**62, "which cannot be"),
        ("length", 30_000, "overlaps the block before it"),
        ("offset", -512, "index.arrow: a negative number in the column 'offset'"),
    ],
)
def test_an_index_that_was_altered_and_signed(shard_set, column, value, message):
    table = read_arrow(shard_set / "index.arrow")
    at = table["split"].to_pylist().index("val")
    values = table[column].to_pylist()
    values[at] = value
    kind = table.schema.field(column).type
    position = table.schema.get_field_index(column)
    write_arrow(shard_set / "index.arrow", table.set_column(position, column, pa.array(values, kind)))
    sign(shard_set, "index.arrow")
    assert any(message in problem for problem in problems(shard_set))


def test_a_block_left_out_of_the_index(shard_set):
    table = read_arrow(shard_set / "index.arrow")
    write_arrow(shard_set / "index.arrow", table.slice(1))
    sign(shard_set, "index.arrow")
    found = problems(shard_set)
    assert any("index.arrow: split train: n_cells is " in problem for problem in found)


NUMBERS = [
    (lambda t: t.update(n_cells=t["n_cells"] + 1), "set: n_cells is "),
    (lambda t: t.update(total_counts=t["total_counts"] - 1), "set: total_counts is "),
    (lambda t: t.update(n_genes=t["n_genes"] + 1), "var.parquet: n_genes is 900, the manifest says 901"),
    (lambda t: t.update(vocab_sha256="0"), "set: vocab_sha256 is "),
    (lambda t: t.update(content_hash="0"), "set: content hash is "),
    (lambda t: t["splits"]["val"].update(n_cells=1), "split val: n_cells is "),
    (lambda t: t["splits"]["val"].update(n_tokens=1), "split val: n_tokens is "),
    (lambda t: t["splits"]["val"].update(n_shards=7), "split val: n_shards is "),
    (lambda t: t["splits"]["val"].update(bytes=7), "split val: bytes is "),
    (lambda t: t["shards"][1].update(n_cells=7), f"{SHARD}: n_cells is "),
    (lambda t: t["shards"][1].update(n_tokens=7), f"{SHARD}: n_tokens is "),
    (lambda t: t["shards"][1].update(bytes=7), f"{SHARD}: size in bytes is "),
    (lambda t: t["shards"][1].update(sha256="0"), f"{SHARD}: sha256 is "),
    (lambda t: t["shards"][1].update(obs_sha256="0"), "obs/000/train-000001.parquet: sha256 is "),
    (lambda t: t["shards"].pop(1), "index.arrow: shard 1 of split 'train' is not in the manifest"),
]


@pytest.mark.parametrize(("change", "message"), NUMBERS, ids=[message for _, message in NUMBERS])
def test_changed_numbers_of_the_manifest(shard_set, change, message):
    change_manifest(shard_set, change)
    assert any(message in problem for problem in problems(shard_set))


def test_obs_of_other_cells(shard_set):
    path = shard_set / "obs/000/train-000001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    found = problems(shard_set)
    assert "obs/000/train-000001.parquet: its cell_id differ from those of the blocks" in found
    path.write_bytes(b"no parquet")
    assert any("train-000001.parquet: not readable" in problem for problem in problems(shard_set))


def test_no_manifest_says_what_to_do(shard_set, tmp_path):
    with pytest.raises(SetNotFoundError, match="none does not exist"):
        scdata.verify_shards(tmp_path / "none")
    (shard_set / "manifest.json").unlink()
    with pytest.raises(SetNotFoundError, match=r"has no manifest\.json, which is written when a set is complete"):
        scdata.verify_shards(shard_set)
    (shard_set / ".build").mkdir()
    with pytest.raises(SetNotFoundError, match=r"unfinished build .*: run its `scdata build` command again"):
        scdata.verify_shards(shard_set)


MANIFESTS = [
    (lambda t: t.update(format="x"), "the format is 'x', expected 'scdata-shards'"),
    (lambda t: t.update(format_version=2), "format version 2; this scdata reads 1"),
    (lambda t: t.update(encoding="x"), "unknown encoding 'x'"),
    (lambda t: t.update(n_cells="x"), "n_cells is 'x', expected a whole number"),
    (lambda t: t["shards"][0].pop("bytes"), "not a manifest of scdata"),
    (lambda t: t["shards"][0].update(bytes=True), "bytes is True"),
    (lambda t: t["shards"][0].update(split="other"), "a shard of a split that the manifest does not name"),
    (lambda t: t["shards"][0].update(sha256=3), "a shard without hashes"),
    (lambda t: t.update(splits=list(t["splits"])), "not a manifest of scdata"),
    (lambda t: t["splits"].update({"../../x": t["splits"]["val"]}), "split name '../../x'"),
    (lambda t: t["files"].update({"../secret": "0"}), "names the file '../secret'"),
    (lambda t: t.pop("files"), "not a manifest of scdata"),
]


@pytest.mark.parametrize(("change", "message"), MANIFESTS, ids=[message for _, message in MANIFESTS])
def test_a_manifest_that_readers_cannot_rely_on(shard_set, change, message):
    change_manifest(shard_set, change)
    with pytest.raises(CorruptShardError) as raised:
        scdata.verify_shards(shard_set)
    assert message in str(raised.value)
    assert "manifest.json" in str(raised.value)


def test_whatever_is_missing_or_of_another_type_is_said(shard_set):
    whole = json.loads((shard_set / "manifest.json").read_text())
    needed = ("format", "format_version", "encoding", "n_genes", "n_cells", "splits", "shards", "files")
    places = [((), key) for key in (*needed, "content_hash", "vocab_sha256")]
    places += [(("shards", 1), key) for key in whole["shards"][1]]
    places += [(("splits", "val"), key) for key in whole["splits"]["val"]]
    places += [(("files",), key) for key in whole["files"]]
    for path, key in places:
        for value in (None, -1, "x", [3], {}, 1.5, "(gone)"):
            table = json.loads(json.dumps(whole))
            entry = table
            for step in path:
                entry = entry[step]
            entry[key] = value
            if value == "(gone)":
                del entry[key]
            (shard_set / "manifest.json").write_text(json.dumps(table))
            try:
                found = problems(shard_set)
            except CorruptShardError as error:
                found = [str(error)]
            assert found, (path, key, value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_manifest_that_is_none(shard_set, data):
    (shard_set / "manifest.json").write_bytes(data)
    with pytest.raises(CorruptShardError, match=r"manifest\.json"):
        scdata.verify_shards(shard_set)


def test_the_manifest_holds_no_local_path(built_set):
    assert str(built_set.parent) not in (built_set / "manifest.json").read_text()
    assert hashlib.sha256((built_set / "manifest.json").read_bytes()).hexdigest() == ShardSet(built_set).manifest_hash

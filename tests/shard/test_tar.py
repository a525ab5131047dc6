import io
import tarfile

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata._errors import CorruptShardError
from scdata.shard.tar import member_name, read_exactly, shard_name, walk, write_tar

BLOCKS = [b"first", b"x" * 512, b"y" * 513, b"z" * 3000]


def tar_of(blocks, path=None):
    file = io.BytesIO()
    places = write_tar(file, "train", 7, blocks)
    if path is not None:
        path.write_bytes(file.getvalue())
    return file.getvalue(), places


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=1500), max_size=6))
def test_offsets_are_those_of_tarfile(blocks):
    data, places = tar_of(blocks)
    assert data == tar_of(blocks)[0]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert [(m.offset_data, m.size) for m in members] == places
        assert [m.name for m in members] == [member_name("train", 7, i) for i in range(len(blocks))]
        assert [tar.extractfile(m).read() for m in members] == blocks
        owners = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members}
        assert owners <= {(0, 0, 0, "", "", 0o644)}
        assert {m.type for m in members} <= {tarfile.REGTYPE}
    for (offset, length), block in zip(places, blocks, strict=True):
        assert data[offset : offset + length] == block


def test_bytes_are_those_of_webdataset():
    file = io.BytesIO()
    with webdataset.TarWriter(file, encoder=False, user="", group="", mode=0o644, mtime=0) as writer:
        for number, block in enumerate(BLOCKS):
            key, extension = member_name("train", 7, number).split(".")
            writer.write({"__key__": key, extension: block})
    assert tar_of(BLOCKS)[0] == file.getvalue()


def test_names():
    assert shard_name("train", 0) == "000/train-000000"
    assert shard_name("my_val-1", 12_345) == "012/my_val-1-012345"
    assert member_name("train", 12, 3) == "train-000012-000003.arrow"


def test_walk_gives_every_member(tmp_path):
    _, places = tar_of(BLOCKS, tmp_path / "a.tar")
    expected = [(member_name("train", 7, i), *place) for i, place in enumerate(places)]
    assert list(walk((tmp_path / "a.tar").read_bytes(), "a")) == expected
    tar_of([], tmp_path / "b.tar")
    assert list(walk((tmp_path / "b.tar").read_bytes(), "b")) == []


def test_a_cut_at_any_byte_is_seen(tmp_path):
    data, places = tar_of(BLOCKS)
    path = tmp_path / "cut.tar"
    boundaries = [offset - 512 for offset, _ in places]
    end = places[-1][0] + 3072  # of the last member, where the marker begins
    for size in [*boundaries, *(b + 1 for b in boundaries), 300, places[3][0] + 1000, end, end + 512, end + 700]:
        path.write_bytes(data[:size])
        with pytest.raises(CorruptShardError, match=r"set/cut\.tar: "):
            list(walk(path.read_bytes(), "set/cut.tar"))
    path.write_bytes(data[: end + 1024])  # a whole end marker; the padding after it is tar's custom
    assert len(list(walk(path.read_bytes(), "x"))) == 4


def test_a_cut_says_where(tmp_path):
    data, places = tar_of(BLOCKS)
    (tmp_path / "cut.tar").write_bytes(data[: places[2][0] - 512])
    with pytest.raises(CorruptShardError, match=rf"c\.tar: cut off at byte {places[2][0] - 512}: the tar has no end"):
        list(walk((tmp_path / "cut.tar").read_bytes(), "c.tar"))


def test_damage_is_refused(tmp_path):
    data, places = tar_of(BLOCKS)
    path = tmp_path / "t.tar"
    header = places[1][0] - 512
    for at, message in ((header + 3, "no tar header at byte"), (len(data) - 1, "end marker at byte")):
        altered = bytearray(data)
        altered[at] ^= 1
        path.write_bytes(altered)
        with pytest.raises(CorruptShardError, match=message):
            list(walk(path.read_bytes(), "t"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.XHDTYPE])
def test_members_that_are_no_plain_files_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("evil")
    info.type, info.linkname = kind, "/etc/passwd"
    (tmp_path / "t.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240))
    with pytest.raises(CorruptShardError, match="member 'evil' at byte 0 is not a plain file"):
        list(walk((tmp_path / "t.tar").read_bytes(), "t"))


def test_a_size_below_zero_is_refused(tmp_path):
    info = tarfile.TarInfo("evil")
    info.size = -512  # GNU tar can write this; walking it would never end
    (tmp_path / "t.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(CorruptShardError, match="member 'evil' at byte 0 says it has -512 bytes"):
        list(walk((tmp_path / "t.tar").read_bytes(), "t"))


def test_read_exactly(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    with (tmp_path / "f").open("rb") as file:
        assert read_exactly(file.fileno(), 3, 4, "f").tobytes() == b"3456"
        assert read_exactly(file.fileno(), 10, 0, "f").tobytes() == b""
        for offset, length in ((8, 3), (11, 0), (2**62, 2**62), (0, 2**62)):
            with pytest.raises(CorruptShardError, match=f"f: ends at byte 10, a block needs {offset + length}"):
                read_exactly(file.fileno(), offset, length, "f")

"""A disk that fills up: an error, nothing that looks whole, and the same command goes on when there is room."""

import subprocess

import pytest

import scdata

_LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))\n"


@pytest.mark.parametrize("limit", [30_000, 400_000])
def test_a_limit_on_the_size_of_files(corpus, build_process, tree, tmp_path, limit):
    arguments, reference = corpus
    out = tmp_path / "set"
    process = build_process(_LIMIT.format(limit), out=str(out), **arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large" in errors
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob("*.tmp"))
    scdata.build_shards(out=out, **arguments)
    assert tree(out) == tree(reference)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"no right to mount: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_without_room(corpus, small_disk, tree):
    arguments, reference = corpus
    out = small_disk / "set"
    with pytest.raises(OSError, match="No space left on device"):
        scdata.build_shards(out=out, **arguments)
    assert not (out / "manifest.json").exists()
    assert not list(out.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    scdata.build_shards(out=out, **arguments)
    assert tree(out) == tree(reference)
    assert scdata.verify_shards(out).ok

"""Patterns, folders, lists, and a kind of source that a user adds."""

import pytest

import scdata
from scdata._errors import SourceError
from scdata.source import SourceOptions, SyntheticSource, open_sources, register_source
from scdata.source import open as opening

NONE = SourceOptions()


@pytest.fixture
def folder(shared_data, tmp_path):
    """Two files of one name in two folders, human and mouse, and a third beside them."""
    for name, source in (
        ("b/cells", "human_pancreas_baron"),
        ("a/cells", "mouse_pancreas_baron"),
        ("c", "human_pbmc_1k_v3"),
    ):
        path = tmp_path / "corpus" / f"{name}.h5ad"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(shared_data / f"{source}.h5ad")
    return tmp_path / "corpus"


def names(uri):
    return [source.name for source in open_sources(str(uri), NONE)]


def test_folders_and_patterns_are_sorted_by_relative_path(folder):
    assert names(folder) == ["a/cells.h5ad", "b/cells.h5ad", "c.h5ad"]
    assert names(folder / "**" / "*.h5ad") == ["a/cells.h5ad", "b/cells.h5ad", "c.h5ad"]
    assert names(folder / "[ab]" / "*.h5ad") == ["a/cells.h5ad", "b/cells.h5ad"]
    with pytest.raises(SourceError, match="3 sources, not one"):
        scdata.open_source(folder)
    with pytest.raises(SourceError, match="no file matches; quote the pattern"):
        names(folder / "*.loom")


def test_a_list_keeps_its_order(folder, tmp_path):
    path = tmp_path / "cells.txt"
    path.write_text("# mine\ncorpus/c.h5ad\n\nsynthetic:cells=5\ncorpus/a/cells.h5ad\n" + f"{folder}/b/cells.h5ad\n")
    with pytest.raises(SourceError, match="not found"):
        names(path)  # an address of its own scheme is no path in a list
    path.write_text(f"# mine\ncorpus/c.h5ad\n\ncorpus/a/cells.h5ad\n{folder}/b/cells.h5ad\n")
    assert names(path) == ["corpus/c.h5ad", "corpus/a/cells.h5ad", "cells.h5ad"]
    for text, message in (("\n#\n", "an empty list"), ("c.h5ad\nc.h5ad\n", "'c.h5ad' is listed twice")):
        path.write_text(text)
        with pytest.raises(SourceError, match=message):
            names(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="in UTF-8"):
        names(path)


def test_a_folder_builds_the_set_that_its_files_build(folder, tmp_path):
    files = [folder / "a/cells.h5ad", folder / "b/cells.h5ad", folder / "c.h5ad"]
    one = scdata.build_shards(folder, tmp_path / "one", obs=[])
    many = scdata.build_shards(files, tmp_path / "many", obs=[])
    assert one["content_hash"] == many["content_hash"]
    assert [s["sha256"] for s in one["shards"]] == [s["sha256"] for s in many["shards"]]
    assert [s["name"] for s in one["sources"]] == ["a/cells.h5ad", "b/cells.h5ad", "c.h5ad"]
    assert str(tmp_path) not in (tmp_path / "one" / "manifest.json").read_text()


class Toy:
    """A kind of source in one file: text, the numbers of synthetic cells."""

    KIND, TAKES, SCHEME = "a toy", frozenset(), ""

    def recognizes(self, place):
        return place.head.startswith(b"toy:")

    def open_place(self, place, options):
        with open(place.uri) as file:
            return [SyntheticSource.from_uri(file.read().replace("toy:", "synthetic:"))]


def test_a_user_adds_a_kind_of_source(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_READERS", list(opening._READERS))
    path = tmp_path / "cells.toy"
    path.write_text("toy:cells=300,genes=50")
    with pytest.raises(SourceError, match="none of the known kinds"):
        scdata.open_source(path)
    register_source(Toy())
    own = scdata.build_shards(path, tmp_path / "toy")
    assert own["content_hash"] == scdata.build_shards("synthetic:cells=300,genes=50", tmp_path / "set")["content_hash"]
    with pytest.raises(ValueError, match=r"is a toy, which takes no layer \(given: 'X'\)"):
        scdata.open_source(path, layer="X")

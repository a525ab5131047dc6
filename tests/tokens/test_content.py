"""What the content of a published file is known by, and that what the presets name is that of the original pickles."""

import hashlib
import pickle
import sys
from collections import Counter

import numpy as np
import pytest

from scdata.tokens.preset import load_preset
from scdata.tokens.published.asset_files import content_sha256, read_table
from scdata.tokens.published.cache import cache_folder
from scdata.tokens.published.importing import import_assets


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def reference(shared_data):
    return shared_data / "reference"


def test_content_is_that_of_canonical_json():
    said = b'{"\\u00e9":"x","A":1,"B":0.5,"C":2}'
    assert content_sha256({"C": 2.0, "B": 0.5, "\u00e9": "x", "A": 1}) != hashlib.sha256(said).hexdigest()
    said = b'{"A":1,"B":0.5,"C":2,"\\u00e9":"x"}'  # names in order of their characters
    assert content_sha256({"C": 2.0, "B": 0.5, "\u00e9": "x", "A": 1}) == hashlib.sha256(said).hexdigest()


@pytest.mark.parametrize(
    "other", [{"A": 0}, {"A": 0, "B": 2}, {"A": 0, "C": 1}, {"A": 0, "B": "1"}, {"A": 0, "B": 1.5}, {}]
)
def test_another_table_has_another_content(other):
    assert content_sha256(other) != content_sha256({"A": 0, "B": 1})
    assert content_sha256({"B": 1.0, "A": 0}) == content_sha256({"A": 0, "B": 1})


def test_numbers_that_are_none_have_a_content():
    assert len({content_sha256({"A": x}) for x in (float("nan"), float("inf"), -float("inf"), None, 10**30)}) == 5


def as_published(table, way):
    """A table as pickled by the authors of Geneformer: each file was written by another Python and NumPy."""
    text, f8 = {}, {}
    most = Counter(table.values()).most_common(1)[0][0]
    ways = {
        "plain": lambda k, v: (k, v),
        "one object for each text": lambda k, v: (sys.intern(k), sys.intern(v)),
        "one object for each value": lambda k, v: (k, text.setdefault(v, v)),
        "int16": lambda k, v: (k, v if k.startswith("<") else np.int16(v)),
        "float64": lambda k, v: (k, np.float64(v)),
        "the most frequent float64 one object": lambda k, v: (
            k,
            f8.setdefault(v, np.float64(v)) if v == most else np.float64(v),
        ),
    }
    data = pickle.dumps(dict(ways[way](k, v) for k, v in table.items()), protocol=5 if "text" in way else 4)
    new, old = b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    if (at := data.find(new)) < 0:
        return data
    size = data.rindex(b"\x95", 0, at) + 1  # of the frame, which is one byte shorter
    length = int.from_bytes(data[size : size + 8], "little") - 1
    return (data[:size] + length.to_bytes(8, "little") + data[size + 8 :]).replace(new, old)


@pytest.mark.parametrize(
    ("preset", "number", "way"),
    [
        ("geneformer-v1", 0, "int16"),
        ("geneformer-v1", 1, "one object for each text"),
        ("geneformer-v1", 2, "float64"),
        ("geneformer-v2", 0, "plain"),
        ("geneformer-v2", 1, "one object for each value"),
        ("geneformer-v2", 2, "the most frequent float64 one object"),
    ],
)
def test_the_content_pinned_is_that_of_the_pickle_pinned(reference, tmp_path, preset, number, way):
    asset = load_preset(preset).assets[number]
    table = read_table((reference / asset.name).read_bytes(), asset.name, asset.name)
    assert content_sha256(table) == asset.content_sha256
    data = as_published(table, way)
    if hashlib.sha256(data).hexdigest() != asset.sha256:
        pytest.skip("this Python writes pickles in another way than the one that wrote the published file")
    (tmp_path / "x.bin").write_bytes(data)
    (one,) = import_assets(preset, [tmp_path / "x.bin"])
    assert (one.name, one.pinned, one.n_entries) == (asset.name, True, len(table))
    assert read_table((cache_folder() / asset.name).read_bytes(), asset.name, asset.name) == table

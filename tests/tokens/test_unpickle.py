"""Pickles are read, never run: what plain dictionaries give, and the published ones."""

import gzip
import hashlib
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scdata.tokens.published.unpickle import unpickle_table

NUMPY = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
]


def read(data):
    return unpickle_table(data, "x.pkl")


# -- what is read -----------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@given(
    table=st.dictionaries(
        st.text(), st.one_of(st.text(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False)), max_size=30
    )
)
def test_dictionaries_come_back_as_they_were(protocol, table):
    data = pickle.dumps(table, protocol=protocol)
    found = read(data)
    assert found == table
    assert list(found) == list(table)
    assert [type(value) for value in found.values()] == [type(value) for value in table.values()]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("kind", NUMPY)
def test_numpy_scalars_become_python_s(protocol, kind):
    highest = np.finfo(kind).max if np.issubdtype(kind, np.floating) else np.iinfo(kind).max
    table = {"a": kind(3), "b": kind(highest), "c": 1.5, "d": "x", "e": kind(3)}
    found = read(pickle.dumps(table, protocol=protocol))
    assert found == {"a": 3, "b": highest.item() if hasattr(highest, "item") else highest, "c": 1.5, "d": "x", "e": 3}
    assert type(found["a"]) is (float if np.issubdtype(kind, np.floating) else int)


@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_is_kept(order):
    value = np.array([1.25], f"{order}f8")
    body = (
        b"}\x8c\x01a\x8c\x16numpy._core.multiarray\x8c\x06scalar\x93\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x89\x88\x87R"
        b"(K\x03\x8c\x01"
        + order.encode()
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"C\x08"
        + value.tobytes()
    )
    data = b"\x80\x04" + body + b"\x86Rs."
    assert pickle.loads(data) == {"a": 1.25}  # it is what NumPy itself reads
    assert read(data) == {"a": 1.25}


def test_the_module_of_older_numpy_is_known():
    data = pickle.dumps({"a": np.float64(2.5)}, protocol=3)
    assert read(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")) == {"a": 2.5}


def test_large_dictionaries_come_in_batches():
    table = {f"gene-{i}": np.float64(i / 7) for i in range(5000)}
    assert read(pickle.dumps(table, protocol=4)) == table


def test_an_empty_dictionary():
    assert read(pickle.dumps({}, protocol=4)) == {}


# -- the files of Geneformer themselves --------------------------------------


def originals(reference):
    """The six published pickles, made again from the JSON that was made of them.

    They were written by other versions of Python and NumPy in ways that these lines repeat; the sha256 says whether they did.
    """

    def table(name):
        return json.loads(gzip.decompress((reference / "geneformer" / f"{name}.json.gz").read_bytes()))

    def old(data):
        # the module that NumPy 1 named; the frame is a byte shorter then
        new = data.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray", 1)
        return new[:3] + struct.pack("<Q", struct.unpack("<Q", new[3:11])[0] - len(data) + len(new)) + new[11:]

    v1, v2 = "v1_gc30M", "v2_gc104M"
    tokens, medians, mapping = (
        table(f"{v1}/{n}") for n in ("token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict")
    )
    yield (
        "geneformer-v1",
        "token_dictionary",
        old(pickle.dumps({k: v if v < 2 else np.int16(v) for k, v in tokens.items()}, protocol=4)),
        tokens,
    )
    yield (
        "geneformer-v1",
        "gene_median_dictionary",
        old(pickle.dumps({k: np.float64(v) for k, v in medians.items()}, protocol=4)),
        medians,
    )
    yield "geneformer-v1", "ensembl_mapping_dict", pickle.dumps({k: k for k in mapping}, protocol=5), mapping
    tokens, medians, mapping = (
        table(f"{v2}/{n}") for n in ("token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict")
    )
    yield "geneformer-v2", "token_dictionary", pickle.dumps(tokens, protocol=4), tokens
    common = np.float64(1.105969024047805)  # one object for many genes
    yield (
        "geneformer-v2",
        "gene_median_dictionary",
        old(pickle.dumps({k: common if v == common else np.float64(v) for k, v in medians.items()}, protocol=4)),
        medians,
    )
    targets = {}
    yield (
        "geneformer-v2",
        "ensembl_mapping_dict",
        pickle.dumps(
            {"".join(list(k)): targets.setdefault(v, "".join(list(v))) for k, v in mapping.items()}, protocol=4
        ),
        mapping,
    )


def test_the_published_pickles_of_geneformer(shared_data):
    from scdata.tokens import load_preset

    seen = []
    for preset, name, data, expected in originals(shared_data / "reference"):
        asset = next(a for a in load_preset(preset).assets if f"/{name}." in a.name)
        if hashlib.sha256(data).hexdigest() != asset.sha256:
            continue  # this Python or NumPy writes pickles in another way
        assert len(data) == asset.bytes
        found = read(data)
        assert found == expected
        assert list(found) == list(expected)
        seen.append(name)
    if not seen:
        pytest.skip("this Python writes pickles in another way than those that wrote the published ones")
    assert len(seen) == 6

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scdata import _errors
from scdata.source import SyntheticSource


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(1, 90),
    st.integers(1, 200),
    st.integers(-(2**70), 2**70),
    st.data(),
)
def test_each_cell_can_be_computed_alone(n_cells, n_genes, mean_genes, seed, data):
    source = SyntheticSource(n_cells, n_genes, mean_genes, seed)
    start = data.draw(st.integers(0, n_cells))
    stop = data.draw(st.integers(start, n_cells))
    block = source.read(slice(start, stop))
    assert block.indptr[0] == 0
    assert block.indptr[-1] == len(block.data) == len(block.indices)
    assert block.rows.tolist() == list(range(start, stop))
    for at, row in enumerate(block.rows):
        genes, counts = source.expected(int(row))
        cell = slice(block.indptr[at], block.indptr[at + 1])
        assert block.indices[cell].tolist() == genes.tolist()
        assert block.data[cell].tolist() == counts.tolist()


def test_golden_cell():
    genes, counts = SyntheticSource(10, 12, 6, seed=1).expected(4)
    assert list(zip(genes.tolist(), counts.tolist(), strict=True)) == [(0, 1), (3, 8), (6, 3)]


def test_counts_look_like_those_of_cells():
    block = SyntheticSource(3000).read(slice(0, 3000))
    n_genes = np.diff(block.indptr)
    assert 400 < n_genes.mean() < 550
    assert 5 < (n_genes == 0).sum() < 60
    assert (block.data >= 1).all()
    assert 0.6 < (block.data <= 3).mean() < 0.95
    detection = np.bincount(block.indices, minlength=2000) / 3000
    assert detection.max() > 0.8
    assert detection.min() < 0.1


def test_seed_changes_counts_and_number_of_cells_does_not():
    a, b = (SyntheticSource(n, 50, 20, seed=3).read(slice(0, 20)) for n in (20, 4000))
    assert (a.data == b.data).all()
    other = SyntheticSource(20, 50, 20, seed=4).read(slice(0, 20))
    assert len(other.data) != len(a.data) or (other.data != a.data).any()


def test_obs_and_datasets():
    source = SyntheticSource(1000, n_datasets=3)
    columns = source.obs_schema.names
    table = source.obs(slice(0, 1000), columns)
    assert table.schema.equals(source.obs_schema)
    assert columns == ["dataset_id", "cell_type", "donor_id", "is_control", "age", "batch"]
    age = table["age"].to_numpy()
    assert 0 < np.isnan(age).sum() < 300
    assert table["age"].null_count == 0
    block = source.read(slice(300, 700), ["cell_type"])
    assert np.take(source.genes.datasets, block.dataset).tolist() == table["dataset_id"].to_pylist()[300:700]
    assert block.obs["cell_type"].to_pylist() == table["cell_type"].to_pylist()[300:700]
    assert block.obs_names[0].as_py() == "cell-300"
    assert source.obs(slice(2, 5), []).num_rows == 3
    with pytest.raises(_errors.LayerNotFoundError, match="no obs column 'celltype'; there are: cell_type, "):
        source.obs(slice(0, 1), ["celltype"])


def test_var():
    source = SyntheticSource(1, 3)
    assert source.var.equals(pa.table({"var_name": ["gene-000000", "gene-000001", "gene-000002"]}))
    assert source.genes.feature_ids == ("gene-000000", "gene-000001", "gene-000002")


def test_pickle_and_fingerprint():
    source = SyntheticSource(50, 40, 10, seed=-7, n_datasets=2)
    source.read(slice(0, 50))
    assert len(pickle.dumps(source)) < 300
    again = pickle.loads(pickle.dumps(source))
    assert again.uri == source.uri == "synthetic:cells=50,genes=40,mean_genes=10,seed=-7,datasets=2"
    assert (again.read(slice(0, 50)).data == source.read(slice(0, 50)).data).all()
    assert again.fingerprint(["age"]) == source.fingerprint(["age"])
    assert source.fingerprint(["age"]) != source.fingerprint([])
    assert source.stat() == {"size": 0, "mtime_ns": 0}
    assert source.row_nnz(slice(0, 1)) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "n_cells is -1"),
        ((1, 0), "n_genes is 0"),
        ((1, 1, 0), "mean_genes"),
        ((1, 1, 1, 0, 0), "n_datas"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticSource(*arguments)


@pytest.mark.parametrize("rows", [slice(0, 11), slice(-1, 3), slice(4, 3), slice(0, 4, 2)])
def test_rows_out_of_range(rows):
    with pytest.raises(ValueError, match="no contiguous slice of 0:10"):
        SyntheticSource(10).read(rows)

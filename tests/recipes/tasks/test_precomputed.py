import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tasks.cells import Cells
from tasks.precomputed import read_file, read_obsm


@pytest.fixture(scope="module")
def embedding() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)


def write(path, ids, array: np.ndarray, **more) -> str:
    values = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])
    pq.write_table(pa.table({"cell_id": pa.array(ids, pa.int64()), "embedding": values, **more}), path)
    return str(path)


def test_rows_of_a_file_are_put_in_the_order_of_cells(demo: Cells, embedding, tmp_path) -> None:
    order = np.random.default_rng(1).permutation(1000)
    path = write(tmp_path / "emb.parquet", order, embedding[order])
    found = read_file(path, demo)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, embedding)
    # cells that a task left out may stay in the file
    np.testing.assert_array_equal(read_file(path, demo.take(np.arange(7, 9))), embedding[7:9])


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (range(999), "has no row for 1 of 1,000 cells, cell_id 999 first"),
        ([*range(1000), 5], "has 1 rows more for cells that have one, cell_id 5 first"),
        (range(1001), "has 1 of 1,001 rows for cells that are not in the set, cell_id 1000 first"),
    ],
)
def test_ids_that_do_not_fit_are_refused(demo: Cells, tmp_path, ids, said: str) -> None:
    path = write(tmp_path / "emb.parquet", list(ids), np.zeros((len(ids), 2), np.float32))
    with pytest.raises(ValueError, match=said):
        read_file(path, demo)


def test_files_of_another_shape_are_refused(demo: Cells, embedding, tmp_path) -> None:
    path = tmp_path / "emb.parquet"
    pq.write_table(pa.table({"id": [1]}), path)
    with pytest.raises(ValueError, match="no column 'cell_id': it has 'id'"):
        read_file(str(path), demo)
    pq.write_table(pa.table({"cell_id": [1], "embedding": [[1.0]]}), path)
    with pytest.raises(ValueError, match="expected a fixed-size list of float32"):
        read_file(str(path), demo)
    broken = embedding.copy()
    broken[17, 1] = np.nan
    with pytest.raises(ValueError, match="the embedding of cell_id 17 is not finite, as of 1 cells"):
        read_file(write(path, range(1000), broken), demo)
    with pytest.raises(ValueError, match="there is no such file"):
        read_file(str(tmp_path / "none.parquet"), demo)


def test_cells_of_several_sets_are_told_apart_by_set(demo: Cells, embedding, tmp_path) -> None:
    both = demo.take(np.r_[np.arange(1000), np.arange(1000)])
    both.obs["set"] = np.repeat([0, 1], 1000)
    both.ids = [np.arange(1000)] * 2
    array = np.concatenate([embedding, -embedding])
    path = write(tmp_path / "emb.parquet", [*range(1000)] * 2, array, set=pa.array(np.repeat([0, 1], 1000)))
    np.testing.assert_array_equal(read_file(path, both), array)
    with pytest.raises(ValueError, match="no column 'set': cells of 2 sets need it"):
        read_file(write(tmp_path / "emb.parquet", [*range(1000)] * 2, array), both)


@pytest.mark.parametrize("by", ["cell_id", "name"])
def test_obsm_of_an_anndata(demo: Cells, embedding, tmp_path, by: str) -> None:
    order = np.random.default_rng(1).permutation(1000)
    obs = pd.DataFrame(index=demo.obs["obs_name"].to_numpy()[order] if by == "name" else [f"x{i}" for i in range(1000)])
    if by == "cell_id":
        obs["cell_id"] = order
    data = anndata.AnnData(obs=obs, obsm={"X_emb": embedding[order]})
    data.write_h5ad(path := tmp_path / "emb.h5ad")
    np.testing.assert_array_equal(read_obsm(str(path), "X_emb", demo), embedding)
    with pytest.raises(ValueError, match="no obsm 'X_pca': it has 'X_emb'"):
        read_obsm(str(path), "X_pca", demo)


def test_obsm_whose_names_do_not_fit(demo: Cells, embedding, tmp_path) -> None:
    path = str(tmp_path / "emb.h5ad")
    obs = pd.DataFrame(index=demo.obs["obs_name"].to_numpy())
    anndata.AnnData(obs=obs[:-1], obsm={"X": embedding[:-1]}).write_h5ad(path)
    with pytest.raises(ValueError, match="has no row named"):
        read_obsm(path, "X", demo)
    twice = demo.take(np.arange(1000))
    twice.obs.loc[3, "obs_name"] = twice.obs.loc[4, "obs_name"]
    with pytest.raises(ValueError, match="names do not tell the cells of the set apart"):
        read_obsm(path, "X", twice)

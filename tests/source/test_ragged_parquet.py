"""Parquet files with lists of genes and expressions."""

import json
import pickle
from pathlib import Path

import anndata
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scdata
from scdata._errors import LayerNotFoundError, NotCountsError, SourceError
from scdata.resources import resource
from scdata.source import H5adSource, RaggedParquetSource

DEMO = Path(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
SYMBOLS, ENSEMBL = ["TP53", "A1BG", "IL7R", "CD3E"], ["ENSG00000141510", "ENSG00000121410", None, "ENSG00000198851"]
GENES = [[3, 0], [], [7, 3, 5], [5]]
COUNTS = [[1, 2], [], [4, 70_000, 1], [9]]


def gene_table(path, ids=(0, 3, 5, 7)):
    columns = {"gene_symbol": SYMBOLS, "ensembl_id": ENSEMBL, "token_id": pa.array(ids, pa.int64())}
    pq.write_table(pa.table(columns), path)


def cells(path, genes=None, counts=None, *, markers=False, rows=2, **obs):
    """Write cells to a file; `markers` puts 1 and −2 before each."""
    genes, counts = GENES if genes is None else genes, COUNTS if counts is None else counts
    if markers:
        genes, counts = [[1, *own] for own in genes], [[-2, *own] for own in counts]
    lists = {"genes": pa.array(genes, pa.list_(pa.int64())), "expressions": pa.array(counts, pa.list_(pa.float32()))}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**lists, **obs}), path, row_group_size=rows)


def dense(block):
    out = np.zeros((block.n_cells, len(block.genes)), np.int64)
    np.add.at(out, (np.repeat(np.arange(block.n_cells), np.diff(block.indptr)), block.indices), block.data)
    return out


EXPECTED = np.array([[2, 1, 0, 0], [0, 0, 0, 0], [0, 70_000, 1, 4], [0, 0, 9, 0]])


@pytest.fixture
def tahoe(tmp_path):
    """Two files as the Hub has them, the table of genes beside their folder."""
    (tmp_path / "metadata").mkdir()
    gene_table(tmp_path / "metadata" / "gene_metadata.parquet")
    for i, drug in enumerate(("DMSO", "Bortezomib")):
        obs = {
            "drug": [drug] * 4,
            "BARCODE_SUB_LIB_ID": [f"{i}_{j}" for j in range(4)],
            "pubchem_cid": [1, None, 3, 4],
            "plate": pa.array(["plate1"] * 4).dictionary_encode(),
            "odd": [[1]] * 4,
        }
        cells(tmp_path / "data" / f"train-{i:05}-of-00002.parquet", markers=True, **obs)
    return tmp_path / "data"


def test_files_as_tahoe_has_them(tahoe):
    source = scdata.open_source(tahoe)
    assert isinstance(source, RaggedParquetSource)
    assert (source.name, source.n_obs) == ("data", 8)
    assert source.genes.feature_ids == ("TP53", "A1BG", "IL7R", "CD3E")
    assert source.var["ensembl_id"].to_pylist() == ENSEMBL
    assert source.obs_schema.names == ["drug", "BARCODE_SUB_LIB_ID", "pubchem_cid", "plate"]
    assert source.notes == ("obs columns that are no strings, bools or numbers are left out: odd",)
    expected = np.concatenate([EXPECTED, EXPECTED])
    for start in (0, 4, 1, 3, 7, 8, 2):
        for stop in range(start, 9):
            block = source.read(slice(start, stop), ["drug", "plate", "pubchem_cid"])
            assert (dense(block) == expected[start:stop]).all()
            assert block.obs_names.to_pylist() == [f"{i // 4}_{i % 4}" for i in range(start, stop)]
            assert block.obs["drug"].to_pylist() == [("DMSO", "Bortezomib")[i // 4] for i in range(start, stop)]
            assert block.obs["plate"].to_pylist() == ["plate1"] * (stop - start)
            assert block.obs["pubchem_cid"].null_count == sum(i % 4 == 1 for i in range(start, stop))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.fingerprint(["drug"]) == source.fingerprint(["drug"])
    assert copy.stat() == source.stat()
    drugs = RaggedParquetSource(tahoe, dataset_column="drug")
    assert drugs.genes.datasets == ("Bortezomib", "DMSO")
    assert drugs.read(slice(2, 6)).dataset.tolist() == [1, 1, 0, 0]
    one = scdata.open_source(tahoe / "train-00001-of-00002.parquet")
    assert (dense(one.read(slice(0, 4))) == EXPECTED).all()


def test_tables_of_scbank(tmp_path):
    (tmp_path / "gene_vocab.json").write_text(json.dumps({"TP53": 0, "A1BG": 3, "IL7R": 5, "CD3E": 7, "<cls>": 1}))
    cells(tmp_path / "counts.datatable.parquet", id=[10, 11, 12, 13])
    source = scdata.open_source(tmp_path)
    assert source.var.column_names == ["var_name"]
    assert (dense(source.read(slice(0, 4))) == EXPECTED).all()
    assert source.read(slice(1, 3)).obs_names.to_pylist() == ["11", "12"]
    cells(tmp_path / "X.datatable.parquet", counts=[[0.5, 2], [], [1, 2, 3], [4]])
    with pytest.raises(SourceError, match=r"several tables of the same cells; .*: X, counts"):
        scdata.open_source(tmp_path)
    assert (dense(scdata.open_source(tmp_path, layer="counts").read(slice(0, 4))) == EXPECTED).all()
    with pytest.raises(NotCountsError, match=r"layer X: the value 0\.5 in row 0 is not a whole number"):
        scdata.open_source(tmp_path, layer="X").read(slice(0, 4))
    with pytest.raises(LayerNotFoundError, match="no table 'Y'; there are: X, counts"):
        scdata.open_source(tmp_path, layer="Y")


def test_what_is_wrong_is_named(tmp_path):
    gene_table(tmp_path / "gene_metadata.parquet")
    cells(tmp_path / "a.parquet")

    def read(**what):
        cells(tmp_path / "b.parquet", **what)
        source = RaggedParquetSource(tmp_path)
        return source.read(slice(0, source.n_obs))

    with pytest.raises(SourceError, match=r"b.parquet, row 2: 3 genes and 2 expressions; the file is damaged"):
        read(counts=[[1, 2], [], [4, 1], [9]])
    with pytest.raises(SourceError, match=r"b.parquet, row 3: no gene has the id 6 in gene_metadata.parquet"):
        read(genes=[[3, 0], [], [7, 3, 5], [6]])
    with pytest.raises(SourceError, match=r"b.parquet, row 2: no gene has the id 99 in"):
        read(genes=[[3, 0], [], [7, 99, 5], [6]])
    with pytest.raises(SourceError, match=r"b.parquet, row 0: no gene has the id -1 in"):
        read(genes=[[-1, 0], [], [7, 99, 5], [6]])
    with pytest.raises(SourceError, match=r"b.parquet, row 1: no list in the column 'genes'"):
        read(genes=[[3, 0], None, [7, 3, 5], [5]])
    with pytest.raises(SourceError, match=r"b.parquet, row 3: nothing stands at a place of the list of 'expressions'"):
        read(counts=[[1, 2], [], [4, 3, 1], [None]])
    with pytest.raises(NotCountsError, match="in row 6 is negative"):  # not the first of its cell
        read(counts=[[1, 2], [], [4, -2, 1], [9]])
    with pytest.raises(NotCountsError, match="in row 4 is not a whole number"):
        read(counts=[[1, 2.5], [], [4, 3, 1], [9]])
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"b.parquet: cannot be read .*; the file is damaged"):
        _ = RaggedParquetSource(tmp_path).n_obs
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"b.parquet: no column 'genes' of lists"):
        scdata.open_source(tmp_path / "b.parquet")


def test_tables_of_genes_that_do_not_do(tmp_path):
    cells(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"no gene table; put gene_vocab.json .* beside the files"):
        scdata.open_source(tmp_path)
    gene_table(tmp_path / "gene_metadata.parquet", (0, 3, 3, 7))
    with pytest.raises(SourceError, match="two genes have the id 3"):
        scdata.open_source(tmp_path)
    pq.write_table(pa.table({"gene_symbol": SYMBOLS}), tmp_path / "gene_metadata.parquet")
    with pytest.raises(SourceError, match=r"not a gene table .*no column ensembl_id, token_id"):
        scdata.open_source(tmp_path)
    (tmp_path / "gene_vocab.json").write_text('{"TP53": "0"}')
    with pytest.raises(SourceError, match=r"gene_vocab.json: not a gene table \(an id is no whole number\)"):
        scdata.open_source(tmp_path)


def demo_as_tahoe(folder):
    demo = anndata.read_h5ad(DEMO)
    x = demo.X.tocsr()
    columns = {"gene_symbol": demo.var_names.to_numpy(str), "ensembl_id": demo.var["ensembl_id"].to_numpy(str)}
    folder.mkdir()
    table = pa.table({**{k: v.tolist() for k, v in columns.items()}, "token_id": np.arange(demo.n_vars) + 3})
    pq.write_table(table, folder / "gene_metadata.parquet")
    obs = {name: demo.obs[name].astype(str).tolist() for name in ("condition", "dataset")}
    rows = [slice(*ends) for ends in zip(x.indptr[:-1], x.indptr[1:], strict=True)]
    genes, counts = [(x.indices[own] + 3).tolist() for own in rows], [x.data[own].tolist() for own in rows]
    for i, part in enumerate((slice(0, 300), slice(300, 1000))):
        own = {name: values[part] for name, values in obs.items()}
        own["obs_name"] = demo.obs_names[part].tolist()
        cells(folder / f"part-{i}.parquet", genes[part], counts[part], markers=True, rows=128, **own)
    return folder


def test_the_demo_cells_here_and_in_a_bucket(tmp_path, s3):
    folder = demo_as_tahoe(tmp_path / "cells")
    near, oracle = RaggedParquetSource(folder), H5adSource(DEMO)
    far = scdata.open_source(s3.upload(folder, "ragged/cells"), endpoint=s3.endpoint, region=s3.region)
    for rows in (slice(0, 200), slice(250, 500), slice(990, 1000)):
        expected = oracle.read(rows, ["condition"])
        for source in (near, far):
            block = source.read(rows, ["condition"])
            assert (dense(block) == dense(expected)).all()
            assert block.obs.equals(expected.obs)
            assert block.obs_names.equals(expected.obs_names)
    assert far.fingerprint(["condition"]) == near.fingerprint(["condition"])
    assert far.stat()["size"] == near.stat()["size"]

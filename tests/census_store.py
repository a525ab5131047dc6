"""A Census-shaped store, made of the demo cells: two organisms, three datasets, cells that are not primary."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
import tiledbsoma

from scdata.resources import resource

N_GENES, DATASETS = 400, ("d-human-1", "d-human-2", "d-mouse")
TITLES = ("Blood, treated", "Blood, again", "Mouse blood")


def write_soma(kind, uri, table):
    with kind.open(uri, "w") as array:
        array.write(table)


def _frame(parent, name, table):
    parent.add_new_dataframe(name, schema=table.schema, domain=[(0, len(table) - 1)]).close()
    # through a reopened handle: categories would be lost otherwise
    write_soma(tiledbsoma.DataFrame, f"{parent.uri}/{name}", table)


def _sparse(parent, name, kind, shape, rows, columns, values):
    parent.add_new_sparse_ndarray(name, type=kind, shape=shape).close()
    triples = {"soma_dim_0": pa.array(rows, pa.int64()), "soma_dim_1": pa.array(columns, pa.int64())}
    write_soma(
        tiledbsoma.SparseNDArray, f"{parent.uri}/{name}", pa.table({**triples, "soma_data": pa.array(values, kind)})
    )


def _table(columns):
    frame = pd.DataFrame({"soma_joinid": np.arange(len(next(iter(columns.values())))), **columns})
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def _organism(data, name, x, obs, var, presence):
    experiment = data.add_new_collection(name, tiledbsoma.Experiment)
    _frame(experiment, "obs", _table({**obs, "nnz": np.diff(x.indptr).astype(np.int64)}))
    measurements = experiment.add_new_collection("ms")
    rna = measurements.add_new_collection("RNA", tiledbsoma.Measurement)
    _frame(rna, "var", _table(var))
    layers, coo = rna.add_new_collection("X"), x.tocoo()
    _sparse(layers, "raw", pa.float32(), x.shape, coo.row, coo.col, coo.data)
    rows, columns = np.nonzero(presence)
    _sparse(rna, "feature_dataset_presence_matrix", pa.bool_(), presence.shape, rows, columns, [True] * len(rows))
    for part in (layers, rna, measurements, experiment):
        part.close()


def census_cells():
    """The parts of the store: counts, obs, var and presence of each organism."""
    demo = anndata.read_h5ad(resource("demo/demo_pbmc_ifnb_1k.h5ad"))[:, :N_GENES].copy()
    x = sp.csr_matrix(demo.X)
    human, mouse = np.arange(700), np.arange(700, 1000)
    presence = np.zeros((3, N_GENES), bool)
    presence[0], presence[1, ::2] = True, True
    # the second dataset measured every other gene
    counts = x[human].tolil()
    counts[400:, 1::2] = 0
    parts = {
        "homo_sapiens": {
            "x": sp.csr_matrix(counts),
            "obs": {
                "dataset_id": pd.Categorical(np.where(human < 400, DATASETS[0], DATASETS[1])),
                "is_primary_data": human % 4 != 3,
                "cell_type": pd.Categorical(np.where(human % 3 == 0, "B cell", "T cell")),
            },
            "var": {
                "feature_id": [f"ENSG{i:011}" for i in range(N_GENES)],
                "feature_name": demo.var_names.tolist(),
                "feature_length": np.arange(N_GENES) + 100,
            },
            "presence": presence,
        },
        "mus_musculus": {
            "x": x[mouse][:, :300],
            "obs": {
                "dataset_id": pd.Categorical([DATASETS[2]] * 300),
                "is_primary_data": np.ones(300, bool),
                "cell_type": pd.Categorical(["T cell"] * 300),
            },
            "var": {
                "feature_id": [f"ENSMUSG{i:011}" for i in range(300)],
                "feature_name": [name.capitalize() for name in demo.var_names[:300]],
                "feature_length": np.arange(300) + 200,
            },
            "presence": np.array([[0], [0], [1]], bool) & np.ones((3, 300), bool),
        },
    }
    for part in parts.values():
        part["x"].eliminate_zeros()
    return parts


def write_census(root, cells):
    """Write the store of some `census_cells` to a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with tiledbsoma.Collection.create(str(root)) as top:
            with top.add_new_collection("census_info") as info:
                datasets = {
                    "dataset_id": list(DATASETS),
                    "dataset_title": list(TITLES),
                    "collection_name": ["IFN-β"] * 3,
                    "collection_doi": ["10.1038/nbt.4042", "10.1038/nbt.4042", ""],
                    "citation": ["Kang et al. (2018)"] * 3,
                    "dataset_total_cell_count": [400, 300, 300],
                }
                _frame(info, "datasets", _table(datasets))
            with top.add_new_collection("census_data") as data:
                for name, part in cells.items():
                    _organism(data, name, **part)

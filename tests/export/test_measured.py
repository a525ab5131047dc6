"""Which genes each dataset measured, and which obs columns a set has, through an export and back."""

import io
import json

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import scdata
from scdata._errors import SourceError, StorageError
from scdata.shard.shard_set import ShardSet
from scdata.source import open_source
from scdata.source.export_facts import ExportFacts
from scdata.source.measured_genes import MeasuredGenes, read_bits

GENES = {
    "a": [f"g{i}" for i in range(20)],
    "b": [f"g{i}" for i in range(29, 8, -1)],
    "all": [f"g{i}" for i in range(30)],
}
# columns with names that exports, sets and formats have themselves, that of the splits among them
NAMES = ("state", "total_counts", "dataset", "cell_id", "obs_name", "id", "genes", "obs.dataset", "split", "guide")
OWN = ["obs.split" if name == "split" else name for name in NAMES]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A set of three datasets, two of which did not measure all genes."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(5)
    for name, genes in GENES.items():
        obs = {column: [f"{column} {i % 3}" for i in range(40)] for column in NAMES}
        cells = anndata.AnnData(
            rng.poisson(2, (40, len(genes))).astype(np.float32),
            obs=pd.DataFrame(obs, index=[f"{name}{i}" for i in range(40)]),
            var=pd.DataFrame({"feature_name": [f"name of {gene}" for gene in genes]}, index=genes),
        )
        cells.write_h5ad(folder / f"{name}.h5ad")
    files = [folder / f"{name}.h5ad" for name in GENES]
    roles = {"perturbation": "state", "control": "state 0", "control_match": ["total_counts"]}
    scdata.build_shards(files, folder / "set", splits=["val=0.25"], block_size=16, **roles)
    return folder / "set"


@pytest.fixture(scope="module")
def to_export(mixed):
    return mixed


def measured(path, genes=30):
    """Names of the genes that each dataset measured."""
    shards = ShardSet(path)
    names = shards.var["feature_name"].to_numpy(zero_copy_only=False)
    assert len(names) == genes
    return {name: set(names[own]) for name, own in zip(shards.datasets, shards.measured, strict=True)}


def expected(among=None):
    return {
        f"{name}.h5ad": {f"name of {gene}" for gene in genes if among is None or gene in among}
        for name, genes in GENES.items()
    }


def own_obs(path):
    return [column["name"] for column in ShardSet(path).manifest["obs"]]


def test_twice_around(mixed, exported, tmp_path, kind):
    assert (own_obs(mixed), measured(mixed)) == (list(NAMES), expected())
    path, before = exported(kind), scdata.to_anndata(mixed, split="val")
    for turn in ("once", "twice"):
        found = scdata.build_shards(path, tmp_path / turn, splits=["val=split:'val'"])
        assert own_obs(tmp_path / turn) == OWN
        assert measured(tmp_path / turn) == expected()
        assert found["perturbation"] == {"column": "state", "control": "state 0", "match": ["total_counts"]}
        cells = scdata.to_anndata(tmp_path / turn, split="val")
        assert set(cells.obs_names) == set(before.obs_names)
        for name in ("obs.state", "obs.dataset", "obs.total_counts", "guide", "dataset"):
            assert cells.obs[name].to_dict() == before.obs[name].to_dict()
        path = tmp_path / f"{turn}.{kind}"
        scdata.export_set(tmp_path / turn, path, kind)
    for batch in scdata.ShardDataset(tmp_path / "twice", output="dense", columns=("measured",), batch_size=8):
        assert (batch["values"][~batch["measured"]] == 0).all()


def test_columns_that_an_export_added_are_stored_if_they_are_named(exported, tmp_path):
    scdata.build_shards(exported("npz"), tmp_path / "set", obs=["guide", "n_tokens", "split", "state"], limit=50)
    assert own_obs(tmp_path / "set") == ["guide", "n_tokens", "split", "state"]
    # a column that another source has of its own is one of the set
    cells = anndata.AnnData(np.ones((9, 30), np.float32), pd.DataFrame({"n_tokens": range(9)}, index=list("abcdefghi")))
    cells.var_names = GENES["all"]
    cells.write_h5ad(tmp_path / "own.h5ad")
    scdata.build_shards([tmp_path / "npz", tmp_path / "own.h5ad"], tmp_path / "both")
    assert sorted(own_obs(tmp_path / "both")) == sorted([*OWN, "n_tokens"])


def test_names_of_obs_columns():
    facts = ExportFacts(
        added=("dataset", "split"), renamed={"obs.state": "state", "obs.dataset": "dataset", "gone": "a"}
    )
    there = ["dataset", "obs.dataset", "obs.state", "split", "other"]
    own = {"dataset": "obs.dataset", "state": "obs.state", "split": "split", "other": "other"}
    assert facts.obs_names(there) == own
    # one that was made since is called so too
    assert facts.obs_names([*there, "state"]) == {name: name for name in [*there, "state"]}


def test_datasets_of_one_name_measured_what_either_did(tmp_path):
    for folder, genes in (("x", GENES["a"]), ("y", GENES["b"][:5]), ("z", GENES["all"])):
        (tmp_path / folder).mkdir()
        cells = anndata.AnnData(np.ones((6, len(genes)), np.float32), var=pd.DataFrame(index=genes))
        cells.write_h5ad(tmp_path / folder / ("all.h5ad" if folder == "z" else "a.h5ad"))
    scdata.build_shards([tmp_path / "x", tmp_path / "y", tmp_path / "z"], tmp_path / "set")
    scdata.export_set(tmp_path / "set", tmp_path / "npz", "npz")
    scdata.build_shards(tmp_path / "npz", tmp_path / "again")
    assert measured(tmp_path / "again") == {"a.h5ad": {*GENES["a"], *GENES["b"][:5]}, "all.h5ad": {*GENES["all"]}}


def test_filters_look_at_columns_that_are_not_stored(mixed, exported, tmp_path):
    found = scdata.build_shards(exported("zarr"), tmp_path / "set", obs_filter="split == 'val' and n_tokens > 0")
    assert found["n_cells"] == ShardSet(mixed).manifest["splits"]["val"]["n_cells"] > 0
    assert sorted(own_obs(tmp_path / "set")) == sorted(OWN)


def test_other_tools_take_genes_away_and_turn_them_round(mixed, exported, tmp_path):
    cells = anndata.read_h5ad(exported("h5ad"))
    cells = cells[:, ::-1][:, :-7].copy()
    kept = set(cells.var_names)
    cells.var_names = cells.var["feature_name"].astype(str)
    cells.var["ensembl"] = cells.var["var_name"]
    assert measured_of_memory(cells, tmp_path / "set", len(kept)) == expected(kept)
    # a dataset that the set did not have
    cells.obs["dataset"] = cells.obs["dataset"].astype(str).replace("a.h5ad", "another")
    known = measured_of_memory(cells, tmp_path / "new", len(kept))
    assert known == {"all.h5ad": known["all.h5ad"], "another": known["all.h5ad"], "b.h5ad": expected(kept)["b.h5ad"]}


def measured_of_memory(cells, path, genes):
    scdata.from_anndata(cells, path, overwrite=True)
    return measured(path, genes)


def test_datasets_of_another_column_measured_all_genes(exported, tmp_path):
    found = scdata.build_shards(exported("npz"), tmp_path / "set", dataset_column="guide")
    assert list(measured(tmp_path / "set")) == ["guide 0", "guide 1", "guide 2"]
    assert ShardSet(tmp_path / "set").measured.all()
    assert any("measured" in note and "is left out" in note for note in found["sources"][0]["notes"])


def test_sets_whose_datasets_measured_all_genes_say_nothing(tmp_path):
    scdata.build_shards("synthetic:cells=60,genes=20", tmp_path / "set")
    scdata.export_set(tmp_path / "set", tmp_path / "npz", "npz")
    assert "measured" not in json.loads((tmp_path / "npz" / "scdata.json").read_text())
    assert {file.name for file in (tmp_path / "npz").iterdir()} == {
        "X.npz",
        "obs.parquet",
        "var.parquet",
        "scdata.json",
    }
    assert open_source(tmp_path / "npz").genes.measured is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.pop("gene"), "expected lists 'dataset' and 'gene'"),
        (lambda table: table.update(gene=3), "measured.gene is 3, expected a list"),
        (lambda table: table["gene"].append("g99" * 9), None),
        (lambda table: table["gene"].extend(f"x{i}" for i in range(9)), "expected uint8 (2, 5)"),
        (lambda table: table["gene"].__setitem__(0, table["gene"][1]), "a dataset or a gene is named twice"),
        (lambda table: table["dataset"].append("c"), "expected uint8 (3, 4)"),
        (lambda table: table["dataset"].__setitem__(0, table["dataset"][1]), "a dataset or a gene is named twice"),
        (lambda table: table.update(gene=[f"x{i}" for i in range(30)]), "is left out: it is of other genes"),
    ],
)
def test_a_damaged_table_beside_cells(exported, change, said):
    path = exported("npz")
    table = json.loads((path / "scdata.json").read_text())
    change(table["measured"])
    (path / "scdata.json").write_text(json.dumps(table))
    source = open_source(path)
    assert source.perturbation == {"column": "state", "control": "state 0", "match": ["total_counts"]}
    assert (source.genes.measured is None) == (said is not None)
    assert len(source.notes) == (said is not None)
    assert all(said in note and len(note) < 400 for note in source.notes)


@pytest.mark.parametrize(
    "own", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x05\x00{'a':", None, np.ones((2, 5), np.uint8), "text"]
)
def test_damaged_bits_beside_cells(exported, own):
    path = exported("webdataset-cells") / "measured.npy"
    before = open_source(path.parent).fingerprint([])
    if own is None:
        path.unlink()
    elif isinstance(own, bytes):
        path.write_bytes(own)
    else:
        np.save(path, own)
    source = open_source(path.parent)
    [note] = source.notes
    assert note.startswith("'measured' of scdata.json with measured.npy is ignored: ")
    assert note.endswith("; genes that were not measured are read as zeros")
    assert source.genes.measured is None
    assert source.fingerprint([]) != before
    assert source.read(slice(0, 5)).n_cells == 5


def bits_of(shape, kind=np.uint8):
    return lambda: {"dataset": ["a.h5ad", "b.h5ad"], "gene": GENES["all"], "bits": np.zeros(shape, kind)}


@pytest.mark.parametrize(
    "own",
    [
        bits_of((2, 3)),
        bits_of(8),
        bits_of((2, 4), np.float32),
        lambda: bits_of((2, 4))() | {"bits": "none"},
        lambda: bits_of((2, 4))() | {"bits": {"deep": "er"}},
        lambda: bits_of((2, 4))() | {"gene": np.arange(30)},
        lambda: bits_of((2, 4))() | {"gene": {"deep": "er"}},
        lambda: {"bits": np.zeros((2, 4), np.uint8)},
        lambda: "text",
        lambda: np.arange(3),
    ],
)
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_a_damaged_table_within_cells(exported, kind, own):
    path = exported(kind)
    if kind == "h5ad":
        with h5py.File(path, "r+") as file:
            replace(file["uns/scdata"], own())
    else:
        replace(zarr.open_group(path)["uns/scdata"], own())
    source = open_source(path)
    [note] = source.notes
    assert note.startswith("uns['scdata']['measured'] is ignored: ")
    assert source.genes.measured is None
    assert source.perturbation is not None
    assert source.read(slice(0, 5), ["state"]).n_cells == 5


def replace(group, own):
    del group["measured"]
    anndata.io.write_elem(group, "measured", own)


def test_counts_of_genes_that_were_not_measured_are_refused(exported, tmp_path):
    cells = anndata.read_h5ad(exported("h5ad"))
    cells.obs["dataset"] = cells.obs["dataset"].cat.rename_categories({"a.h5ad": "b.h5ad", "b.h5ad": "a.h5ad"})
    with pytest.raises(scdata.ScdataError, match=r"of dataset '[ab]\.h5ad', has counts of gene 'g\d+', and uns"):
        scdata.from_anndata(cells, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    path = exported("npz")
    bits = np.load(path / "measured.npy")
    np.save(path / "measured.npy", np.zeros_like(bits))
    with pytest.raises(scdata.ScdataError, match=r"and scdata.json \('measured'\) says that it did not"):
        open_source(path).read(slice(0, 30))
    del cells.uns["scdata"]["measured"]
    scdata.from_anndata(cells, tmp_path / "set")
    assert ShardSet(tmp_path / "set").measured.all()


NAMED = st.lists(st.sampled_from([f"g{i}" for i in range(20)]), unique=True, min_size=1)
SETS = st.lists(st.sampled_from("abcdef"), unique=True)


@settings(max_examples=60, deadline=None)
@given(NAMED, st.lists(st.sampled_from([f"g{i}" for i in range(20)]), min_size=1), SETS, SETS, st.randoms())
def test_masks_are_by_name(genes, var, told, datasets, random):
    known = {(dataset, gene): random.random() < 0.5 for dataset in told for gene in genes}
    rows = np.array([[known[dataset, gene] for gene in genes] for dataset in told], bool).reshape(len(told), len(genes))
    own = MeasuredGenes(tuple(told), pa.array(genes), np.packbits(rows, axis=1, bitorder="little"))
    found = own.mask(pa.table({"number": np.arange(len(var)), "other": ["?"] * len(var), "var_name": var}), datasets)
    if not set(var) & set(genes):
        assert found is None
    else:
        wanted = [[known.get((dataset, gene), True) for gene in var] for dataset in datasets]
        np.testing.assert_array_equal(found, np.array(wanted, bool).reshape(len(datasets), len(var)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 160), st.integers(0, 40))
def test_files_of_bits_are_read_or_refused(noise, place, cut):
    file = io.BytesIO()
    np.save(file, np.arange(12, dtype=np.uint8).reshape(3, 4))
    data = file.getvalue()
    data = data[:place] + noise + data[place + cut :]
    try:
        found = read_bits(data, (3, 4))
    except ValueError:
        return
    assert (found.shape, found.dtype) == ((3, 4), np.uint8)


@pytest.mark.parametrize("name", ["scdata.json", "measured.npy"])
def test_a_store_that_refuses_a_side_file_is_no_export_without_one(kinds, s3, faulty, name):
    """The set would have other roles, columns and genes, for one answer of the store."""
    for file in (kinds / "npz").iterdir():
        uri = s3.upload(file, f"refused/npz/{file.name}").rpartition("/")[0]
    near = open_source(kinds / "npz")
    far = open_source(uri, endpoint=s3.endpoint, region=s3.region)
    assert far.notes == near.notes == ()
    assert far.perturbation == near.perturbation
    np.testing.assert_array_equal(far.genes.measured, near.genes.measured)
    refusal = 403, "AccessDenied"
    front = faulty(
        lambda _, method, path: refusal if method == "GET" and path.partition("?")[0].endswith(name) else None
    )
    with pytest.raises(StorageError, match="check the address"):
        _ = open_source(uri, endpoint=front.endpoint, region=s3.region).perturbation


def test_a_side_file_that_cannot_be_read_is_an_error(exported, monkeypatch):
    path = exported("npz")

    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with pytest.raises(SourceError, match=r"scdata.json cannot be read \(Permission denied\)"):
        _ = open_source(path).notes


def test_bits_that_cannot_be_read_are_damage_of_the_file(exported):
    path = exported("h5ad")
    with h5py.File(path, "r+") as file:
        group = file["uns/scdata/measured"]
        bits = group["bits"][()]
        del group["bits"]
        own = group.create_dataset("bits", data=bits, chunks=bits.shape, fletcher32=True)
        place = own.id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes([bits[0, 0] ^ 1]))
    with pytest.raises(SourceError, match="uns: cannot be read"):
        _ = open_source(path).notes

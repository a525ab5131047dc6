import subprocess
import sys
import tarfile

import h5py
import pytest

from scdata import _errors
from scdata.source import H5adSource, SomaSource, SyntheticSource, open_source


def test_importing_sources_imports_no_reader():
    code = "import sys, scdata.source; print({'h5py', 'tiledbsoma', 'anndata', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_kind_is_told_by_content(shared_data, tmp_path):
    odd = tmp_path / "counts.bin"
    odd.write_bytes((shared_data / "human_pancreas_baron.h5ad").read_bytes())
    assert isinstance(open_source(str(odd)), H5adSource)
    assert isinstance(open_source(odd), H5adSource)
    folder = tmp_path / "pbmc.h5ad"
    with tarfile.open(shared_data / "soma" / "soma-exp-pbmc-small.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    source = open_source(folder, measurement="RNA", layer="counts")
    assert isinstance(source, SomaSource)
    assert source.n_obs == 80
    with pytest.raises(_errors.LayerNotFoundError, match="no measurement 'ATAC'; there are: RNA"):
        open_source(folder, measurement="ATAC")
    with pytest.raises(_errors.SourceError, match="TileDB group, but not a SOMA experiment"):
        open_source(folder / "ms")
    with pytest.raises(_errors.SourceError, match="a folder that holds none of them"):
        open_source(folder / "obs")


def test_synthetic_uris():
    source = open_source("synthetic:cells=12,seed=5")
    assert isinstance(source, SyntheticSource)
    assert source.uri == "synthetic:cells=12,genes=2000,mean_genes=500,seed=5,datasets=4"


@pytest.mark.parametrize(
    "uri",
    [
        "synthetic:",
        "synthetic:genes=3",
        "synthetic:cells=1,cells=2",
        "synthetic:cells=1,rows=2",
        "synthetic:cells=x",
        "synthetic:cells=1_0",
        "synthetic:cells=-1",
        "synthetic:cells=1,",
        "synthetic:cells=1, genes=2",
    ],
)
def test_malformed_synthetic_uris(uri):
    with pytest.raises(_errors.SourceError, match="write synthetic:cells=N and, after commas"):
        open_source(uri)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(_errors.SourceError, match=rf"looked at {tmp_path}/none.h5ad"):
        open_source(tmp_path / "none.h5ad")
    (tmp_path / "empty").mkdir()
    text = tmp_path / "text.h5ad"
    text.write_text("gene,cell\n")
    with pytest.raises(_errors.SourceError, match=r"none of the known kinds; what can be read: .*an h5ad file"):
        open_source(text)
    with pytest.raises(_errors.SourceError, match="an empty folder; what can be read: "):
        open_source(tmp_path / "empty")
    (tmp_path / "empty" / "readme.md").touch()
    with pytest.raises(_errors.SourceError, match="a folder that holds none of them"):
        open_source(tmp_path / "empty")
    text.unlink()
    with h5py.File(tmp_path / "tenx.h5", "w") as file:
        file.create_group("matrix")
    with pytest.raises(_errors.SourceError, match="HDF5 file but no h5ad"):
        open_source(tmp_path / "tenx.h5")


def test_arguments_that_do_not_belong(shared_data):
    path = shared_data / "human_pancreas_baron.h5ad"
    with pytest.raises(ValueError, match=r"h5ad file, which takes no measurement \(given: 'RNA'\)"):
        open_source(path, measurement="RNA")
    for argument in ("layer", "measurement", "dataset_column"):
        with pytest.raises(ValueError, match=f"synthetic:cells=N, which takes no {argument}"):
            open_source("synthetic:cells=1", **{argument: "x"})

"""What tests of tokenizers share: outputs of the original code, the cells they are of, and folders of published files."""

import functools
import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from scdata.resources import resource

_DEMO = Path(__file__).resolve().parents[1] / "golden_demo"
DEMO_FILE = "demo/demo_pbmc_ifnb_1k.h5ad"


@pytest.fixture(scope="session")
def golden_demo():
    """A function: outputs of an original code for 20 cells of the demo file (golden_demo/README.md)."""
    return functools.cache(lambda model: json.loads(gzip.decompress((_DEMO / f"{model}.json.gz").read_bytes())))


@pytest.fixture(scope="session")
def golden(shared_data):
    """A function: more outputs of the original code, which lie beside the checkout."""
    folder = shared_data.parent / "specs" / "golden"
    if not folder.is_dir():
        pytest.skip(f"no golden outputs at {folder}")
    return functools.cache(lambda model: json.loads((folder / f"{model}.json").read_text()))


@pytest.fixture(scope="session")
def reference(shared_data):
    """Folder of the published files."""
    return str(shared_data / "reference")


@pytest.fixture(scope="session")
def demo():
    """The demo cells."""
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.read_h5ad(resource(DEMO_FILE))


@pytest.fixture(scope="session")
def pbmc(golden):
    """CSR of 20 cells that the shared outputs are of."""
    cells = golden("cells_pbmc10k")["cells"]
    indptr = np.cumsum([0, *(len(cell["idx"]) for cell in cells)])
    indices = np.concatenate([cell["idx"] for cell in cells])
    data = np.concatenate([cell["counts"] for cell in cells])
    return sp.csr_matrix((data, indices, indptr), shape=(len(cells), 8060))


@pytest.fixture(scope="session")
def write_files():
    """A function: write tables into a folder of assets, by name: JSON, under gzip where the name ends so, or .tsv."""

    def write(folder, files):
        for name, table in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".tsv"):
                rows = sorted(table.items(), key=lambda row: row[1])
                path.write_text("gene_name\tindex\n" + "".join(f"{gene}\t{place}\n" for gene, place in rows))
            else:
                data = json.dumps(table).encode()
                path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(folder)

    return write


@pytest.fixture(scope="session")
def preset_file(tmp_path_factory):
    """A function: a preset of one's own, as a path."""

    def write(text, name="own"):
        path = tmp_path_factory.mktemp("presets") / f"{name}.toml"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(scope="session")
def rows_of():
    """A function: token ids of each cell of a block, and with `values` the values."""

    def rows(block, values=False):
        return [row.tolist() for row in np.split(block.values if values else block.token_ids, block.indptr[1:-1])]

    return rows


@pytest.fixture(scope="session")
def pbmc_names(golden):
    return [cell["cell_id"] for cell in golden("cells_pbmc10k")["cells"]]


@pytest.fixture(scope="session")
def pbmc_bins(golden, pbmc, pbmc_names):
    """cell → {token id: the interval of its bin}, of all its genes in the vocabulary, from the original's own intervals."""
    of_column = np.array(golden("scgpt")["gene_ids_for_cells"]["ids"])
    out = {}
    for at, cell in enumerate(golden("scgpt")["real_binning"]):
        row = pbmc[[at]]
        genes = {int(of_column[i]): str(count) for i, count in zip(row.indices, row.data, strict=True)}
        out[pbmc_names[at]] = {g: cell["value_to_digit_interval"][v] for g, v in genes.items() if g >= 0}
    return out


@pytest.fixture(scope="session")
def pbmc_set(golden, pbmc, pbmc_names, tmp_path_factory):
    """A set of the counts of the 20 cells."""
    import anndata
    import pandas as pd

    import scdata

    folder = tmp_path_factory.mktemp("pbmc")
    own = golden("cells_pbmc10k")
    var = pd.DataFrame({"symbol": own["genes_symbol"]}, index=own["genes_ensembl"])
    obs = pd.DataFrame({"name": pbmc_names}, index=pbmc_names)
    anndata.AnnData(sp.csr_matrix(pbmc, dtype=np.float32), obs=obs, var=var).write_h5ad(folder / "pbmc.h5ad")
    scdata.build_shards(folder / "pbmc.h5ad", folder / "set")
    return folder / "set"

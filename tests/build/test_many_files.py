import numpy as np
import pytest

import scdata
from scdata.build import Progress
from scdata.build.genes import GeneGroups
from scdata.shard.shard_set import ShardSet
from scdata.source import SourceOptions, open_sources


@pytest.fixture
def corpus_of_files(make_h5ad, tmp_path):
    """Twenty files with genes a to d, and ten with genes d to f, where they stand in another order; the counts by file."""
    rng = np.random.default_rng(0)
    counts = {}
    for i in range(30):
        genes = list("abcd") if i % 3 else list("fed")
        counts[f"f{i:02d}"] = genes, rng.integers(1, 5, (4, len(genes)))
        make_h5ad(f"f{i:02d}", counts[f"f{i:02d}"][1], var={"index": genes})
    return tmp_path, counts


class Said(Progress):
    def __init__(self):
        super().__init__()
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_files_with_equal_genes_share_what_is_known_of_them(corpus_of_files):
    sources = open_sources(str(corpus_of_files[0]), SourceOptions())
    groups = GeneGroups.of(sources)
    assert groups.of_source == [0 if i % 3 == 0 else 1 for i in range(30)]
    assert [source.name for source in groups.first] == ["f00.h5ad", "f01.h5ad"]
    assert len({id(source.var) for source in sources}) == 2
    assert len({id(source.genes.feature_ids) for source in sources}) == 2
    assert groups.name(1) == "f01.h5ad and 19 with the same genes"


def test_many_files_are_one_set_and_few_lines(corpus_of_files, tmp_path, read_cells):
    folder, counts = corpus_of_files
    said = Said()
    manifest = scdata.build_shards(folder, tmp_path / "set", obs=(), progress=said)
    assert [source["name"] for source in manifest["sources"]] == [f"{name}.h5ad" for name in counts]
    assert "f01.h5ad and 19 like it: 80 cells" in said.notes
    assert sum("columns map to the vocabulary" in note for note in said.notes) == 2
    var = ShardSet(tmp_path / "set").var
    gene_of = dict(zip(var["token_id"].to_pylist(), var["feature_id"].to_pylist(), strict=True))
    cells = read_cells(tmp_path / "set")
    assert len(cells) == 120
    for cell_id, cell in cells.items():
        genes, rows = counts[f"f{cell_id // 4:02d}"]
        expected = dict(zip(genes, rows[cell_id % 4].tolist(), strict=True))
        assert {gene_of[token]: n for token, n in cell["counts"].items()} == expected

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from tasks import batch_correction
from tasks.cells import Cells, read_cells
from tasks.parameter_free import pca
from tasks.representations import PARAMETER_FREE, Representation
from tasks.table import summarize

import scdata


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scib_metrics", None)
    with pytest.raises(
        ValueError, match=r"needs scib-metrics and harmonypy .* is not installed\): pip install 'scdata-engine\[eval\]'"
    ):
        batch_correction.run(argparse.Namespace(), [])


def test_harmony_mixes_chemistries_and_keeps_types(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("harmonypy", reason="harmonypy (extra eval) is not installed")
    scdata.build_shards(shared_data / "tasks" / "batch_pbmc_10x_symphony_1767genes.h5ad", tmp_path / "set")
    cells = read_cells([str(tmp_path / "set")])
    before = pca(cells, np.arange(len(cells)), 0)
    batches, types = (cells.column(name, "labels").to_numpy(str) for name in ("batch", "cell_type"))
    after = batch_correction.harmony(before, batches, 0)
    assert after.shape == before.shape
    np.testing.assert_array_equal(after, batch_correction.harmony(before, batches, 0))

    def of_others(features: np.ndarray, names: np.ndarray) -> float:
        """Share of a cell's 15 neighbours that have another name."""
        places = NearestNeighbors(n_neighbors=16).fit(features).kneighbors(features, return_distance=False)[:, 1:]
        return float((names[places] != names[:, None]).mean())

    assert of_others(after, batches) > of_others(before, batches) + 0.3
    assert of_others(after, types) < of_others(before, types) + 0.02


@pytest.mark.slow  # two minutes, most of them for scib-metrics to compile
@pytest.mark.filterwarnings("ignore")
def test_batches_that_stand_apart_score_below_those_that_are_mixed(demo: Cells) -> None:
    benchmark = pytest.importorskip("scib_metrics.benchmark", reason="scib-metrics (extra eval) is not installed")
    pytest.importorskip("harmonypy", reason="harmonypy (extra eval) is not installed")
    import scib_metrics

    rng = np.random.default_rng(0)
    labels = demo.obs["condition"].to_numpy(str)
    batches = rng.choice(["one", "two"], len(demo))
    noise = rng.standard_normal((len(demo), 4)).astype(np.float32)
    by_label, by_batch = ((names == np.unique(names)[0]).astype(np.float32)[:, None] * 6 for names in (labels, batches))
    mixed = Representation("mixed", lambda cells, train, seed: noise + by_label)
    apart = Representation("apart", lambda cells, train, seed: noise + by_label + by_batch * [0, 1, 0, 0])
    judged = [mixed, apart, PARAMETER_FREE["random"]]
    scores = batch_correction.judge(demo, labels, batches, judged, 2, 0, benchmark)
    table = summarize(scores, batch_correction.METRICS).set_index("representation")
    assert table.loc["mixed", "batch_correction"] > table.loc["apart", "batch_correction"] + 0.1
    assert table.loc["mixed", "bio_conservation"] > table.loc["random", "bio_conservation"] + 0.3
    assert scores["n_cells"].tolist() == [500] * 8
    np.testing.assert_allclose(scores["total"], 0.6 * scores["bio_conservation"] + 0.4 * scores["batch_correction"])

    rows = np.arange(300)
    arrays = {"mixed": (noise + by_label)[rows]}
    found = batch_correction.scib_scores(arrays, noise[rows], labels[rows], batches[rows], benchmark)
    expected = scib_metrics.silhouette_label(arrays["mixed"], labels[rows])
    np.testing.assert_allclose(found["silhouette_label"], expected, rtol=1e-5)
    some = demo.take(np.arange(410, 590))
    with pytest.raises(ValueError, match="90 cells in a sample: scib-metrics asks for 90 neighbours"):
        batch_correction.judge(some, labels[410:590], batches[410:590], judged, 2, 0, benchmark)

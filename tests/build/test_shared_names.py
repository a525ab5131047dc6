"""Two sources whose datasets have one name."""

import numpy as np
import pyarrow.parquet as pq

import scdata


def test_the_same_bytes_whenever_it_is_built(make_h5ad, tmp_path):
    counts = np.ones((70, 4), np.float32)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    paths = []
    for folder in ("a", "b"):
        path = make_h5ad("x", counts, obs={"dataset_id": ["one", "two"] * 35})
        target = tmp_path / folder / "x.h5ad"
        path.rename(target)
        paths.append(str(target))
    found = []
    for name in ("first", "second"):
        scdata.build_shards(paths, tmp_path / name)
        files = sorted(p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob("*") if p.is_file())
        found.append({str(file): (tmp_path / name / file).read_bytes() for file in files})
    assert found[0] == found[1]
    obs = pq.read_table(next((tmp_path / "first" / "obs").rglob("*.parquet")))
    assert sorted(set(obs["dataset"].to_pylist())) == ["one", "two"]
    assert obs["dataset"].combine_chunks().dictionary.to_pylist() == ["one", "two"]

"""A whole build whose tokens are made on a device: the same bytes as on the CPU."""

import pytest

for needed in ("dask", "distributed"):
    pytest.importorskip(needed)

SOURCE = "synthetic:cells=600,genes=400,mean_genes=120"
OWN = {
    "edges.toml": 'description = "fixed edges"\nstores = "tokens"\n[value]\nkind = "edges"\nn_bins = 21\n',
    "upper.toml": 'description = "bins of cells"\nstores = "tokens"\n[value]\nkind = "quantile"\n',
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["geneformer-v2", "depth-bins", *OWN])
def test_the_bytes_do_not_tell_the_machine(device, tmp_path, monkeypatch, name):
    from scdata.build.pipeline import build_shards
    from scdata.tokens.device import tokenize_blocks

    if name in OWN:
        (tmp_path / name).write_text(OWN[name])
    tokenizer, assets = str(tmp_path / name) if name in OWN else name, "fit" if name == "geneformer-v2" else None
    used = []

    def counted(*arguments):
        used.append(1)
        return tokenize_blocks(*arguments)

    monkeypatch.setattr("scdata.build.scatter.tokenize_blocks", counted)
    monkeypatch.setattr("scdata.build.scatter.device_count", lambda: 1)
    monkeypatch.setattr("scdata.build.pipeline.device_count", lambda: 1)
    for where in ("cpu", "cuda"):
        build_shards(SOURCE, tmp_path / where, tokenizer=tokenizer, assets=assets, splits=["val=0.2"], device=where)
    assert used == [1]
    files = sorted(path.relative_to(tmp_path / "cpu") for path in (tmp_path / "cpu").rglob("*") if path.is_file())
    assert len(files) >= 10
    for file in files:
        assert (tmp_path / "cuda" / file).read_bytes() == (tmp_path / "cpu" / file).read_bytes(), file


def test_asking_for_a_device_that_is_not_there(tmp_path, monkeypatch):
    from scdata._errors import BuildError
    from scdata.build.pipeline import build_shards

    monkeypatch.setattr("scdata.build.pipeline.device_count", lambda: 0)
    with pytest.raises(BuildError, match=r"CuPy finds no CUDA device.*--device cpu, which gives the same bytes"):
        build_shards(SOURCE, tmp_path / "set", tokenizer="depth-bins", device="cuda")
    assert not (tmp_path / "set").exists()

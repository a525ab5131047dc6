"""`ShardDataset(device="cuda")`: the batches of the CPU, made on a device."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("anndata")
pytest.importorskip("distributed")

import scdata  # noqa: E402
from scdata import ShardDataset, _backend, mix  # noqa: E402
from scdata._errors import TokenizerError  # noqa: E402
from scdata.batch import side_stream  # noqa: E402
from scdata.objectives import (  # noqa: E402
    MaskedDiffusion,
    MaskedGenes,
    MaskedValues,
    NextGene,
    PerceptionGeneration,
)
from tests.two_datasets import Mixed  # noqa: E402

OUTPUTS = ("padded", "packed", "dense")
SEQUENCES = ("padded", "packed")
FITTED = ("geneformer-v1", "geneformer-v2", "scfoundation", "scgpt", "transcriptformer", "cell-jepa", "lingshu-cell")
PRESETS = (*(f"{name}+fit" for name in FITTED), "depth-bins", "counts")
OBJECTIVES = {
    "genes": ("geneformer-v2+fit", MaskedGenes(), SEQUENCES),
    "values": ("scgpt+fit", MaskedValues(rate=(0.2, 0.8), replace=0.7), OUTPUTS),
    "perception": ("scgpt+fit", PerceptionGeneration(), SEQUENCES),
    "next gene": ("transcriptformer+fit", NextGene(), SEQUENCES),
    "diffusion": ("lingshu-cell+fit", MaskedDiffusion(weight="elbo"), OUTPUTS),
}


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    return Mixed(tmp_path_factory.mktemp("two"))


class Loaders:
    """Loaders of a device and of the CPU.

    Attributes
    ----------
    real
        False on the stand-in.
    trainer
        The stand-in for the stream that the trainer works on.
    """

    def __init__(self, real, trainer=None):
        self.real, self.trainer = real, trainer

    def same(self, found, expected):
        """An error unless batches of the device are those of the CPU, and on it."""
        assert len(found) == len(expected)
        for batch, own in zip(found, expected, strict=True):
            assert batch.keys() == own.keys()
            for key, value in own.items():
                other = batch[key]
                if key == "controls":
                    self.same([other], [value])
                    continue
                if not isinstance(value, torch.Tensor):
                    assert other == value, key
                    continue
                assert other.device == torch.device("cuda", 0), key
                other = other.cpu()
                assert (other.dtype, other.shape) == (value.dtype, value.shape), key
                if self.real and value.is_floating_point():
                    # a logarithm of the device may differ in its last bit
                    torch.testing.assert_close(other, value, rtol=1e-6, atol=0)
                else:
                    assert torch.equal(other, value), key

    def check(self, path, make=ShardDataset, epoch=1, **options):
        """The batches of an epoch on the device, which are those of the CPU."""
        loaders = [make(path, **options, device=device) for device in ("cuda", "cpu")]
        for loader in loaders:
            loader.set_epoch(epoch)
        batches = [list(loader) for loader in loaders]
        self.same(*batches)
        assert batches[0]
        return batches[0]


@pytest.fixture
def loaders(device, monkeypatch):
    _backend.device_count.cache_clear()
    side_stream._side_stream.cache_clear()
    if device.real:
        yield Loaders(True)
    else:
        import standin_torch

        with standin_torch.installed(monkeypatch) as trainer:
            yield Loaders(False, trainer)
    _backend.device_count.cache_clear()
    side_stream._side_stream.cache_clear()


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", PRESETS)
def test_presets(loaders, two, name, output):
    loaders.check(two.path, tokenizer=name, output=output, batch_size=50, columns=("assay", "measured"), subset=120)


@pytest.mark.parametrize(
    ("name", "output"), [(name, output) for name, (_, _, outputs) in OBJECTIVES.items() for output in outputs]
)
def test_objectives(loaders, two, name, output):
    tokenizer, objective, _ = OBJECTIVES[name]
    loaders.check(two.path, tokenizer=tokenizer, output=output, batch_size=64, objective=objective, subset=100)


@pytest.mark.parametrize("output", SEQUENCES)
@pytest.mark.parametrize("name", PRESETS)
def test_long_cells_are_cut_alike(loaders, two, name, output):
    batches = loaders.check(
        two.path, tokenizer=name, output=output, context_length=30, batch_size=100, num_threads=0, subset=100
    )
    if output == "padded":
        assert max(batch["n_tokens"].max() for batch in batches) == 30


PLAIN = 'description = "d"\nstores = "counts"\ncontext_length = 40\n[value]\nkind = "counts"\n'
OWN = {
    "random ties": 'extends = "scgpt"\n[value]\nties = "random"\n',
    "cut by counts": PLAIN + '[genes]\ncut = "weighted"\n',
    "zeros, cut by counts": PLAIN + 'missing = -1\n[genes]\ncut = "weighted"\nchoice = "full"\norder = "descending"\n',
    "zeros that were measured": PLAIN.replace("40", "900") + '[genes]\nchoice = "full"\norder = "random"\n',
    "most variable genes": PLAIN + '[genes]\nchoice = "hvg"\nn = 30\nzeros = true\n',
    "filled": PLAIN + '[genes]\nfill = "unexpressed"\n',
    "scaled": PLAIN + "scale = 300.0\nclip = 9\n",
    "thinned, with zeros": 'extends = "scfoundation"\n[genes]\nchoice = "full"\n',
    "thinned, filled": 'extends = "scfoundation"\ncontext_length = 60\n[genes]\nfill = "unexpressed"\n',
}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", OWN)
def test_presets_of_ones_own(loaders, two, tmp_path, name, output):
    (tmp_path / "own.toml").write_text(OWN[name])
    tokenizer = scdata.load_tokenizer(str(tmp_path / "own.toml"), "fit")
    loaders.check(two.path, tokenizer=tokenizer, output=output, batch_size=64, subset=150)


OPTIONS = {
    "copies of cells": {"balance": "assay", "tokenizer": "scfoundation+fit"},
    "pieces": {"max_tokens": 2000, "output": "packed"},
    "like lengths": {"group_by_length": True, "tokenizer": "geneformer-v2+fit"},
    "log-normalized": {"log_normalize": 1e4, "output": "dense"},
    "two threads": {"num_threads": 2, "batch_size": 7, "tokenizer": "scgpt+fit"},
    "wide": {"pad_to": 300, "dtype": torch.int64},
    "doubles": {"output": "dense", "dtype": torch.float64},
    "totals": {"columns": ("total_counts", "vocab_counts", "batch")},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(loaders, two, name):
    loaders.check(two.path, **{"batch_size": 64, **OPTIONS[name]})


@pytest.fixture(scope="session")
def shallow(tmp_path_factory):
    """A set of other genes."""
    out = tmp_path_factory.mktemp("shallow") / "set"
    scdata.build_shards("synthetic:cells=150,genes=60", out, block_size=32)
    return out


def test_counts_divided_by_an_obs_column(loaders, shallow, tmp_path):
    (tmp_path / "own.toml").write_text(
        'description = "d"\nstores = "counts"\n[value]\nkind = "lognorm"\ntotal = "batch"\n'
    )
    tokenizer = scdata.load_tokenizer(str(tmp_path / "own.toml"), "fit")
    options = {"tokenizer": tokenizer, "columns": ("batch", "is_control"), "batch_size": 64}
    loaders.check(shallow, **options, filter="batch >= 1")
    said = []
    for device in ("cuda", "cpu"):
        with pytest.raises(TokenizerError, match=r"'batch', which is 0 in row \d+: expected whole numbers") as error:
            list(ShardDataset(shallow, **options, device=device))
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_mix(loaders, two, shallow, output):
    sets = {two.path: 2, shallow: 1}
    options = {"tokenizer": "cell-jepa+fit", "batch_size": 32, "subset": 100, "stop": "cycle", "columns": ("measured",)}
    for batch in loaders.check(sets, mix, output=output, **options):
        assert set(batch["set"].tolist()) <= {0, 1}


@pytest.mark.parametrize("output", OUTPUTS)
def test_tokens_of_a_set(loaders, tmp_path, output):
    scdata.build_shards(
        "synthetic:cells=150,genes=60", tmp_path / "set", tokenizer="geneformer-v2", assets="fit", block_size=32
    )
    loaders.check(tmp_path / "set", output=output, batch_size=40)
    if output != "dense":
        loaders.check(tmp_path / "set", output=output, batch_size=40, context_length=9, objective=MaskedGenes())


@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_what_began_on_one_machine_goes_on_on_another(loaders, two, first, second):
    options = {
        "tokenizer": "scfoundation+fit",
        "batch_size": 50,
        "output": "packed",
        "objective": MaskedValues(mask_value=-1),
    }
    whole = list(ShardDataset(two.path, **options))
    batches = iter(ShardDataset(two.path, **options, device=first))
    state = [next(batches) for _ in range(3)][-1]["state"]
    assert state == whole[2]["state"]
    rest = ShardDataset(two.path, **options, device=second)
    rest.load_state_dict(state)
    if second == "cuda":
        loaders.same(list(rest), whole[3:])
    else:
        found = list(rest)
        assert len(found) == len(whole) - 3
        assert all(
            torch.equal(a[key], b[key]) for a, b in zip(found, whole[3:], strict=True) for key in ("values", "masked")
        )


def test_transform_works_on_tensors_of_the_device(loaders, two):
    def transform(batch):
        return {"doubled": batch["values"] * 2, "cell_id": batch["cell_id"], "host": torch.arange(3)}

    found = list(ShardDataset(two.path, device="cuda", transform=transform, batch_size=64))
    expected = list(ShardDataset(two.path, transform=transform, batch_size=64))
    assert all(batch["host"].tolist() == [0, 1, 2] for batch in found)
    for batch in (*found, *expected):
        del batch["host"]
    loaders.same(found, expected)


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_batch_is_whole_before_the_trainer_reads_and_until_it_has(loaders, two, output):
    if loaders.real:
        pytest.skip("the stand-in tells what streams were asked for")
    for number, batch in enumerate(ShardDataset(two.path, device="cuda", output=output, batch_size=64)):
        assert len(loaders.trainer.waited_for) == number + 1
        event = loaders.trainer.waited_for[-1]
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                assert value.read_by(loaders.trainer)
                assert value.made_before(event)


@pytest.mark.parametrize("output", OUTPUTS)
def test_memory_is_not_given_to_others_while_a_slow_trainer_reads(loaders, two, output):
    if not loaders.real:
        pytest.skip("needs streams that work")
    options = {"output": output, "batch_size": 16, "tokenizer": "scgpt+fit", "num_threads": 2}
    expected, stream, kept = [], torch.cuda.Stream(), []
    loader = ShardDataset(two.path, **options, device="cuda")
    for epoch in range(5):
        loader.set_epoch(epoch)
        with torch.cuda.stream(stream):
            for batch in loader:
                torch.cuda._sleep(5_000_000)  # some milliseconds, while the next batches are made
                kept.append({k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in batch.items()})
                del batch  # what `clone` is still to read is free as far as Python knows
    stream.synchronize()
    for epoch in range(5):
        own = ShardDataset(two.path, **options)
        own.set_epoch(epoch)
        expected += list(own)
    loaders.same(kept, expected)


@pytest.mark.parametrize("output", ["padded", "dense"])
def test_controls_beside_the_cells(loaders, two, tmp_path, output):
    roles = {"perturbation": "batch", "control": "batch1", "control_match": []}
    scdata.build_shards(two.path, tmp_path / "set", block_size=32, **roles)
    options = {
        "output": output,
        "batch_size": 50,
        "subset": 100,
        "pair_controls": "batch",
        "columns": ("batch", "measured"),
    }
    if output != "dense":
        options |= {"columns": ("batch",), "objective": MaskedGenes(), "tokenizer": "geneformer-v2+fit"}
        scdata.fit_set(tmp_path / "set")
    for batch in loaders.check(tmp_path / "set", **options):
        assert (batch["controls"]["batch"] == 1).all()
        assert len(batch["controls"]["cell_id"]) == len(batch["cell_id"])
    del options["objective" if output != "dense" else "columns"]
    loaders.check(
        {tmp_path / "set": 1},
        mix,
        **options | {"tokenizer": "counts+fit" if output == "dense" else options["tokenizer"]},
    )

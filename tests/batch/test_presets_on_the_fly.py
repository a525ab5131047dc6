"""Every preset from one set of counts, in every output: the tokens of `encode`, with the special tokens around."""

import numpy as np
import pytest
import torch

from scdata import ShardDataset, _jit
from scdata.resources import resource
from scdata.tokens import preset_names
from scdata.tokens.kernels.levels import decode_levels

FLOATS = {"scfoundation"}
WITHOUT_VALUES = {"geneformer-v1", "geneformer-v2"}
IN_ORDER = {"geneformer-v1", "geneformer-v2", "depth-bins", "lingshu-cell"}  # the others as the set has them
OUTPUTS = ["padded", "packed", "dense"]
NAMES = preset_names()


def asked(name):
    """How a preset is asked for from a set of counts."""
    published = (resource("tokenizers/presets") / f"{name}.toml").read_text()
    return f"{name}+fit" if "genes = " in published else name


def keys_of(name, output):
    keys = {"cell_id", "dataset", "state", "values"}
    if output == "padded":
        keys |= {"token_ids", "attention_mask", "n_tokens"}
    elif output == "packed":
        keys |= {"token_ids", "cu_seqlens", "max_seqlen"}
    if name in WITHOUT_VALUES and output != "dense":
        keys -= {"values"}
    if name == "cell-jepa":
        keys |= {"masked", "masked_values"}
    if name == "transcriptformer":
        keys |= {"aux_token_ids"}
    if name == "scfoundation":
        keys |= {"targets"} | ({"depths"} if output == "dense" else set())
    return keys


def test_all_presets_are_here():
    assert NAMES == [
        "cell-jepa",
        "counts",
        "depth-bins",
        "geneformer-v1",
        "geneformer-v2",
        "lingshu-cell",
        "scfoundation",
        "scgpt",
        "transcriptformer",
    ]


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", NAMES)
def test_keys_shapes_and_types(mixed, name, output):
    dataset, batches = mixed.stream(asked(name), output)
    values_type = torch.float32 if name in FLOATS else torch.int32
    assert sum(len(batch["cell_id"]) for batch in batches) == len(mixed.cells)
    for batch in batches:
        n = len(batch["cell_id"])
        assert set(batch) == keys_of(name, output)
        shape = (n, len(dataset.dense_feature_ids))
        if output == "padded":
            shape = batch["token_ids"].shape
            assert (shape[0], shape[1] % 64) == (n, 0)
            assert (batch["attention_mask"].dtype, batch["attention_mask"].shape) == (torch.bool, shape)
            assert torch.equal(batch["attention_mask"].sum(1), batch["n_tokens"])
            pads = ~batch["attention_mask"]
            assert set(batch["token_ids"][pads].tolist()) <= {dataset.pad_id}
            for key, pad in (("values", None), ("targets", None), ("masked_values", None), ("masked", False)):
                behind = dataset.tokenizer.preset.value.pad if pad is None else pad
                assert set(batch[key][pads].tolist() if key in batch else []) <= {behind}
        elif output == "packed":
            shape = (int(batch["cu_seqlens"][-1]),)
            assert batch["cu_seqlens"].dtype == torch.int32
            assert batch["cu_seqlens"].shape == (n + 1,)
            assert batch["max_seqlen"] == int(batch["cu_seqlens"].diff().max())
        if output != "dense":
            assert batch["token_ids"].dtype == torch.int32
            assert batch["token_ids"].shape == shape
        for key in ("values", "targets", "masked_values"):
            if key in batch:
                assert (batch[key].dtype, batch[key].shape) == (values_type, shape), key
        if "masked" in batch:
            assert (batch["masked"].dtype, batch["masked"].shape) == (torch.bool, shape)
        if "depths" in batch:
            assert (batch["depths"].dtype, batch["depths"].shape) == (torch.float32, (n, 2))


def inner(preset, cell):
    """Token ids and values of a cell's genes: without the special tokens."""
    before = len(preset.genes.prepend)
    stop = len(cell["token_ids"]) - (preset.n_around - before)
    return cell["token_ids"][before:stop], cell["values"][before:stop] if "values" in cell else None


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("output", ["padded", "packed"])
@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_of_encode(mixed, cells_of, name, output, jit, monkeypatch):
    if not jit:
        monkeypatch.setattr(_jit, "available", lambda: False)
    dataset, batches = mixed.stream(asked(name), output)
    tokenizer, preset, special = dataset.tokenizer, dataset.tokenizer.preset, dataset.vocab.specials
    encoded, found = mixed.encoded(tokenizer), cells_of(batches)
    assert sorted(found) == sorted(mixed.cells)
    for number, cell in found.items():
        if name == "scfoundation" and sum(mixed.cells[number].values()) > 1000:
            continue  # may be thinned: see test_thinning_on_the_fly.py
        ids, values = inner(preset, cell)
        expected, expected_values = encoded[number]
        if preset.stores == "tokens":
            expected, expected_values = inner(preset, {"token_ids": expected, "values": expected_values or expected})
        assert cell["token_ids"][: len(preset.genes.prepend)] == [special[t] for t in preset.genes.prepend]
        if name in WITHOUT_VALUES:
            assert ids == expected
            assert cell["token_ids"][len(ids) + len(preset.genes.prepend) :] == [
                special[t] for t in preset.genes.append
            ]
            continue
        of_gene = dict(zip(expected, expected_values, strict=True))
        if name == "lingshu-cell":
            names = tokenizer.genes().feature_ids
            blank = {i: 0 if gene in mixed.measured[number] else -1 for i, gene in enumerate(names)}
            of_gene = blank | of_gene
        assert len(ids) == len(set(ids))
        assert dict(zip(ids, values, strict=True)) == of_gene
        if name in IN_ORDER:
            assert ids == sorted(of_gene)
        around = [v for i, v in enumerate(cell["values"]) if i not in range(len(preset.genes.prepend), len(ids) + 1)]
        if name not in ("scfoundation", "counts", "transcriptformer", "lingshu-cell"):
            assert set(around) == {preset.value.special}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "scfoundation"])
def test_dense_batches_hold_the_same_values(mixed, cells_of, name):
    dataset, batches = mixed.stream(asked(name), "dense")
    preset, token_ids = dataset.tokenizer.preset, dataset.vocab.token_ids
    encoded = mixed.encoded(dataset.tokenizer)
    columns = [token_ids[gene] for gene in dataset.dense_feature_ids]
    assert columns == sorted(columns)
    for number, cell in cells_of(batches).items():
        ids, values = encoded[number]
        if preset.stores == "tokens":
            ids, values = inner(preset, {"token_ids": ids, "values": values or ids})
        if name in WITHOUT_VALUES:
            values = range(1, len(ids) + 1)
        of_gene = dict(zip(ids, values, strict=True))
        absent = dict.fromkeys(dataset.dense_feature_ids, 0)
        if name == "lingshu-cell":
            absent = {gene: 0 if gene in mixed.measured[number] else -1 for gene in absent}
        assert cell["values"] == [of_gene.get(token_ids[gene], absent[gene]) for gene in dataset.dense_feature_ids]


def test_levels_decode_to_counts_within_a_level(mixed, cells_of):
    dataset, batches = mixed.stream("lingshu-cell", "dense")
    value = dataset.tokenizer.preset.value
    largest = 0
    for number, cell in cells_of(batches).items():
        levels = np.array(cell["values"])
        lowest = np.where(levels < 0, -1, 0)
        lowest[levels >= 0] = decode_levels(levels[levels >= 0], value.level_starts, value.level_steps)
        for gene, count in zip(dataset.dense_feature_ids, lowest.tolist(), strict=True):
            if gene not in mixed.measured[number]:
                assert count == -1
                continue
            true = mixed.cells[number].get(gene, 0)
            largest = max(largest, true)
            step = 1 if true < 100 else 10 if true < 1000 else 100
            assert 0 <= true - count < step
    assert 1000 < largest < 10_000


@pytest.mark.parametrize("published", [True, False])
def test_ids_of_the_assay(mixed, cells_of, own_preset, published, tmp_path):
    tokenizer, ids = "transcriptformer+fit", {"10x 3' v3": 1, "Drop-seq": 2, None: 0}
    if published:
        import gzip
        import json

        folder = tmp_path / "assets" / "transcriptformer"
        folder.mkdir(parents=True)
        genes = {gene: 7 + i for i, gene in enumerate(f"ENSG{i:011d}" for i in range(160))}
        special = {
            name: i for i, name in enumerate(["unknown", "[START]", "[END]", "[RD]", "[CELL]", "[PAD]", "[MASK]"])
        }
        (folder / "vocab.json.gz").write_bytes(gzip.compress(json.dumps({**special, **genes}).encode()))
        (folder / "assay_vocab.json").write_text(json.dumps({"unknown": 4, "x": 0, "Drop-seq": 9}))
        tokenizer = own_preset('extends = "transcriptformer"\n', str(tmp_path / "assets"))
        ids = {"10x 3' v3": 4, "Drop-seq": 9, None: 4}
    for output in OUTPUTS:
        _, batches = mixed.stream(tokenizer, output)
        assert all(batch["aux_token_ids"].dtype == torch.int32 for batch in batches)
        found = {number: cell["aux_token_ids"] for number, cell in cells_of(batches).items()}
        assert found == {number: ids[assay] for number, assay in mixed.assays.items()}
    assert set(mixed.assays.values()) == set(ids)


def test_a_random_order_is_new_in_every_epoch_and_the_same_again(mixed, cells_of):
    def orders(epoch, **options):
        cells = cells_of(mixed.stream("transcriptformer+fit", "packed", epoch, **options)[1])
        return {number: (cell["token_ids"], cell["values"]) for number, cell in cells.items()}

    first = orders(0)
    assert first == orders(0, batch_size=7, num_threads=3)
    second = orders(1)
    changed = sum(first[number][0] != second[number][0] for number in first)
    assert changed > 0.95 * len(first)
    for number, (ids, values) in first.items():
        assert sorted(zip(ids, values, strict=True)) == sorted(zip(*second[number], strict=True))
    assert orders(0, seed=1) != first


@pytest.mark.parametrize("name", ["scfoundation", "cell-jepa", "transcriptformer", "random-ties"])
def test_the_rest_after_a_state_is_the_same(mixed, own_preset, name):
    """Whatever is drawn belongs to the cell and the epoch, not to the batches before."""
    ties = 'extends = "scgpt"\ncontext_length = 30\n[value]\nties = "random"\n'
    tokenizer = own_preset(ties, "fit") if name == "random-ties" else asked(name)
    _, batches = mixed.stream(tokenizer, "padded", epoch=3)
    again = ShardDataset(mixed.path, tokenizer=tokenizer, batch_size=64, num_threads=0)
    again.load_state_dict(batches[2]["state"])
    rest = list(again)
    assert len(rest) == len(batches) - 3
    for one, other in zip(batches[3:], rest, strict=True):
        assert set(one) == set(other)
        for key, value in one.items():
            same = torch.equal(value, other[key]) if torch.is_tensor(value) else value == other[key]
            assert same, key

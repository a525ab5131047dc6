"""Two views of one draw: all values, and the same with some hidden; and the encoder's view of a dense batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scdata
from scdata.batch.views import encoder_view

OUTPUTS = ["padded", "packed", "dense"]
JEPA = "cell-jepa+fit"
PRESETS = {
    "cell-jepa": JEPA,
    "levels": 'extends = "lingshu-cell"\n[mask]\nfraction = 0.15\n',
    "depth bins": 'extends = "depth-bins"\n[mask]\nfraction = 0.15\n',
    "levels of all genes, cut": (
        'extends = "lingshu-cell"\ncontext_length = 40\n[genes]\ncut = "random"\norder = "random"\n[mask]\nfraction = 0.15\n'
    ),
    "log-normalized": (
        'description = "d"\nstores = "counts"\n[vocab]\nspecial = ["<cls>", "<eos>"]\n[genes]\nprepend = ["<cls>"]\n'
        'append = ["<eos>"]\n[value]\nkind = "lognorm"\nmask = -1\n[mask]\nfraction = 0.15\n'
    ),
}


@pytest.fixture
def stream(mixed, own_preset):
    """A function: the loader of one of `PRESETS`, and its batches."""

    def run(name, output, epoch=0, **options):
        preset = PRESETS[name]
        return mixed.stream(preset if preset == JEPA else own_preset(preset), output, epoch, **options)

    return run


@pytest.fixture
def measured(mixed):
    """A function: which columns of a dense batch the dataset of each cell measured."""

    def of(dataset, batch):
        names = dataset.dense_feature_ids
        return torch.tensor([[gene in mixed.measured[n] for gene in names] for n in batch["cell_id"].tolist()])

    return of


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", list(PRESETS))
def test_hidden_values_stand_where_the_whole_view_has_values(stream, measured, name, output):
    dataset, batches = stream(name, output)
    value = dataset.tokenizer.preset.value
    specials = torch.tensor(sorted(dataset.vocab.specials.values()))
    n_hidden = n_genes = 0
    for batch in batches:
        values, hidden = batch["values"], batch["masked"]
        assert torch.equal(batch["masked_values"][~hidden], values[~hidden])
        assert set(batch["masked_values"][hidden].tolist()) == {value.mask}
        assert batch["masked_values"].dtype == values.dtype
        genes = torch.ones_like(hidden)
        if output == "dense":
            genes &= measured(dataset, batch)
        else:
            genes &= ~torch.isin(batch["token_ids"], specials)
        if "attention_mask" in batch:
            genes &= batch["attention_mask"]
        if value.missing is not None:
            genes &= values != value.missing
            assert not genes.all()
        assert not hidden[~genes].any()  # special tokens, padding, and genes that were not measured
        n_hidden, n_genes = n_hidden + int(hidden.sum()), n_genes + int(genes.sum())
    assert abs(n_hidden / n_genes - 0.15) < 4 * np.sqrt(0.15 * 0.85 / n_genes)


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_same_genes_are_hidden_in_every_output_and_batch_size(stream, cells_of, name):
    dataset, batches = stream(name, "dense")
    dense, names = cells_of(batches), dataset.dense_feature_ids
    column = {dataset.vocab.token_ids[gene]: i for i, gene in enumerate(names)}
    special = set(dataset.vocab.specials.values())
    for output, size in (("padded", 64), ("packed", 7)):
        cells = cells_of(stream(name, output, batch_size=size)[1])
        assert cells.keys() == dense.keys()
        for number, cell in cells.items():
            for token, hidden, value in zip(cell["token_ids"], cell["masked"], cell["masked_values"], strict=True):
                if token not in special:
                    at = column[token]
                    assert (hidden, value) == (dense[number]["masked"][at], dense[number]["masked_values"][at])


def test_others_are_hidden_in_every_epoch_and_with_every_seed(stream, measured):
    def hidden(epoch, seed):
        dataset, batches = stream("cell-jepa", "dense", epoch, seed=seed)
        rows = {}
        for batch in batches:
            parts = zip(batch["cell_id"].tolist(), batch["masked"], measured(dataset, batch), strict=True)
            rows.update({number: row[there] for number, row, there in parts})
        return torch.cat([rows[number] for number in sorted(rows)])

    first = hidden(0, 0)
    assert torch.equal(first, hidden(0, 0))
    for other in (hidden(1, 0), hidden(0, 1)):
        assert abs((first & other).double().mean() - 0.15**2) < 0.003  # independent of each other


def test_the_views_of_a_cut_cell_have_the_same_genes(stream, cells_of):
    """Both views are of one draw: a cell that was cut has one row of token ids."""
    short = cells_of(stream("cell-jepa", "padded", context_length=20)[1])
    whole = cells_of(stream("cell-jepa", "padded")[1])
    cut = 0
    for number, cell in short.items():
        of_gene = dict(zip(whole[number]["token_ids"], whole[number]["masked_values"], strict=True))
        assert cell["masked_values"] == [of_gene[token] for token in cell["token_ids"]]
        cut += len(cell["token_ids"]) < len(of_gene)
    assert cut > len(short) / 2


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_set_of_stored_tokens_has_the_same_views(mixed, stream, cells_of, tmp_path, output):
    preset = tmp_path / "own.toml"
    preset.write_text(PRESETS["depth bins"])
    sources = [mixed.path.parent / f"{name}.h5ad" for name in "ab"]
    scdata.build_shards(sources, tmp_path / "set", tokenizer=str(preset), block_size=32)
    stored = cells_of(scdata.ShardDataset(tmp_path / "set", output=output, batch_size=64))
    fly = cells_of(stream("depth bins", output)[1])
    assert stored.keys() == fly.keys()
    for number, cell in fly.items():
        assert stored[number] == cell


def by_hand(values, depths, hidden, pad):
    """The encoder's view, cell by cell."""
    end = len(values[0]) + len(depths[0]) if len(values) else 0
    rows = []
    for value, depth, hide in zip(values, depths, hidden, strict=True):
        seen = [(i, x) for i, (x, h) in enumerate(zip(value, hide, strict=True)) if x > 0 and not h]
        rows.append(seen + [(len(value) + i, x) for i, x in enumerate(depth) if x > 0])
    longest = max(map(len, rows), default=0)
    return [row + [(end, pad)] * (longest - len(row)) for row in rows], [len(row) for row in rows]


@given(st.data(), st.integers(0, 5), st.integers(0, 6), st.integers(0, 2))
def test_encoder_view(data, n_cells, n_genes, n_depths):
    number = st.sampled_from([0.0, 0.0, 0.5, 2.0, 7.25])
    values = data.draw(
        st.lists(st.lists(number, min_size=n_genes, max_size=n_genes), min_size=n_cells, max_size=n_cells)
    )
    depths = data.draw(
        st.lists(st.lists(number, min_size=n_depths, max_size=n_depths), min_size=n_cells, max_size=n_cells)
    )
    hidden = data.draw(
        st.lists(st.lists(st.booleans(), min_size=n_genes, max_size=n_genes), min_size=n_cells, max_size=n_cells)
    )
    shaped = torch.tensor(values).reshape(n_cells, n_genes)
    view = encoder_view(
        shaped,
        torch.tensor(depths).reshape(n_cells, n_depths) if n_depths else None,
        torch.tensor(hidden, dtype=torch.bool).reshape(n_cells, n_genes),
        pad_value=103,
    )
    rows, lengths = by_hand(values, depths, hidden, 103)
    found = zip(view["positions"].tolist(), view["values"].tolist(), strict=True)
    assert [list(zip(*row, strict=True)) for row in found] == rows
    assert view["attention_mask"].sum(1).tolist() == lengths
    assert view["positions"].dtype == torch.int64
    assert view["attention_mask"].dtype == torch.bool
    if n_cells and not any(map(any, hidden)):
        assert encoder_view(shaped)["attention_mask"].sum().item() == sum(x > 0 for row in values for x in row)

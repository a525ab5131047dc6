"""tokenizers/README.md: its examples work, and every preset builds from the demo cells and streams."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

import scdata
from scdata.resources import resource
from scdata.tokens import preset_names, tables, value_table
from scdata.tokens.preset import Preset, load_preset

README = (Path(__file__).resolve().parents[1] / "tokenizers" / "README.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:anndata", "ignore::ResourceWarning")


def build_and_stream(tmp_path, tokenizer):
    preset = load_preset(tokenizer)
    out = tmp_path / "set"
    assets = "fit" if preset.published else None
    scdata.build_shards(resource("demo/demo_pbmc_ifnb_1k.h5ad"), out, tokenizer=tokenizer, assets=assets)
    assert scdata.verify_shards(out).problems == []
    n_cells = 0
    for batch in scdata.ShardDataset(out, batch_size=250):
        n_cells += len(batch["cell_id"])
        assert batch["attention_mask"].any(dim=1).all()
        assert torch.equal(batch["attention_mask"].sum(dim=1), batch["n_tokens"])
    assert n_cells == 1000
    return batch, preset


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_builds_from_the_demo_cells_and_streams(tmp_path, name):
    batch, preset = build_and_stream(tmp_path, name)
    if preset.context_length is not None:
        assert batch["n_tokens"].max() <= preset.context_length
    assert ("values" in batch) == (preset.value.kind != "rank")
    assert ("targets" in batch) == (preset.depth.thin is not None)
    assert ("masked_values" in batch) == (preset.mask is not None)
    assert ("aux_token_ids" in batch) == (preset.aux is not None)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_builds_and_streams(tmp_path, number):
    (tmp_path / "mine.toml").write_text(EXAMPLES[number])
    batch, preset = build_and_stream(tmp_path, str(tmp_path / "mine.toml"))
    assert preset.description in EXAMPLES[number]
    if preset.value.kind != "rank":
        assert batch["values"].is_floating_point() == (preset.value.kind == "lognorm")


def test_examples_show_every_kind_and_are_short():
    kinds = {load_preset("depth-bins").value.kind, *re.findall(r'^kind = "(\w+)"', "\n".join(EXAMPLES), re.MULTILINE)}
    assert kinds >= set(value_table.KINDS)
    assert all(len(example.splitlines()) <= 13 for example in EXAMPLES)


def test_every_preset_is_listed():
    for name in preset_names():
        assert README.count(f"| `{name}` |") == 2, name


def test_every_key_is_explained():
    explained = set(re.findall(r"`(?:\[+[a-z.]+\]+ )?(\w+)`", README))
    known = {field.name for field in dataclasses.fields(Preset)} - {
        "value",
        "vocab",
        "genes",
        "depth",
        "mask",
        "aux",
        "assets",
    }
    for name in (
        "VocabTable",
        "GenesTable",
        "ValueTable",
        "DepthKeys",
        "ThinTable",
        "MaskTable",
        "AuxTable",
        "AssetTable",
    ):
        known |= {
            field.name for field in dataclasses.fields(getattr(value_table if name == "ValueTable" else tables, name))
        }
    assert known - {"thin"} <= explained

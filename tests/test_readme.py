"""The README's examples and commands are true."""

import re
import shutil
from pathlib import Path

import pytest

from scdata.resources import resource
from scdata.tokens import preset_names

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def examples():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_examples_run(examples, tmp_path, monkeypatch):
    shutil.copy(resource("demo/demo_pbmc_ifnb_1k.h5ad"), tmp_path / "pbmc.h5ad")
    monkeypatch.chdir(tmp_path)
    steps = []
    space = {"train_step": lambda *tensors: steps.append([tuple(t.shape) for t in tensors]), "checkpoint": {}}
    for example in examples:
        exec(compile(example, "README.md", "exec"), space)
    n_train = space["ds"].n_cells
    assert sum(shapes[0][0] for shapes in steps) == 2 * n_train
    assert all(len(set(shapes)) == 1 for shapes in steps)
    assert list(space["ds"]) == []  # the state after the last batch: nothing is left
    assert len(space["cell"]["token_ids"]) == len(space["cell"]["values"])


def test_every_preset_is_listed():
    tables = README + (ROOT / "tokenizers" / "README.md").read_text()
    for name in preset_names():
        assert tables.count(f"| `{name}` |") == 2


def test_the_example_preset_of_tokenizers_readme_works(tmp_path):
    import scdata

    text = re.search(r"```toml\n(.*?)```", (ROOT / "tokenizers" / "README.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "mine.toml").write_text(text)
    out = tmp_path / "set"
    scdata.build_shards("synthetic:cells=200,genes=50,mean_genes=20", out, tokenizer=str(tmp_path / "mine.toml"))
    batch = next(iter(scdata.ShardDataset(out, batch_size=10)))
    assert (batch["token_ids"][:, 0] == 1).all()
    assert batch["values"].is_floating_point()
    assert (batch["values"][batch["attention_mask"]][1:] >= 0).all()


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text())) <= targets

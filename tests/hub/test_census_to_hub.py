"""The three commands of the tutorial, with a store of the Census's shape and a Hub on this machine."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.census_store import TITLES, census_cells, write_census

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "census_to_hub.md"
# what the store of the tests has in place of what the Census has
HERE = {
    "census:stable": "census:./soma",
    "tissue_general == 'blood' and disease == 'normal'": "cell_type == 'T cell'",
    "donor_id": "dataset_id",
    "--workers 8": "--workers 1",
    "USER/": "ann/",
}
TRAIN = """
import sys, scdata
dataset = scdata.ShardDataset(sys.argv[1], tokenizer="scgpt+fit", batch_size=64)
print(sum(len(batch["token_ids"]) for batch in dataset))
"""


@pytest.mark.skipif(not TUTORIAL.exists(), reason="an installed copy has no docs")
def test_from_the_census_to_the_hub_and_back(start_hub, environment, tmp_path):
    hub = start_hub()
    cells = census_cells()
    write_census(tmp_path / "soma", cells)
    (tmp_path / "train.py").write_text(TRAIN)
    [block] = re.findall(r"```\{code-block\} console\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    for there, here in HERE.items():
        assert there in block
        block = block.replace(there, here)
    commands = [shlex.split(line) for line in block.replace("\\\n", " ").removeprefix("$ ").split("\n$ ")]
    assert [command[0] for command in commands] == ["scdata", "scdata", "python"]
    for command in commands:
        start = {"scdata": [sys.executable, "-m", "scdata.cli.main"], "python": [sys.executable]}[command[0]]
        done = subprocess.run(
            [*start, *command[1:]],
            cwd=tmp_path,
            env=environment(hub, HF_TOKEN="hf_ann"),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    obs = cells["homo_sapiens"]["obs"]
    files = hub.files("ann/blood-1m")
    card = files["README.md"].decode()
    n_train = int(re.search(r"\| train \| ([\d,]+) \|", card)[1].replace(",", ""))
    n_val = int((re.search(r"\| val \| ([\d,]+) \|", card) or [0, "0"])[1].replace(",", ""))
    assert n_train + n_val == (obs["is_primary_data"] & (obs["cell_type"] == "T cell")).sum()
    assert int(done.stdout) == n_train
    assert f"| {TITLES[0]} |" in card
    assert "[10.1038/nbt.4042](https://doi.org/10.1038/nbt.4042)" in card
    assert "license: unknown" in card  # a store of one's own, no dated release

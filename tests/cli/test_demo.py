"""The demo, as a newcomer runs it, with less time for training."""

import json
import re

from click.testing import CliRunner

from scdata.cli.main import cli
from scdata.shard import verify_shards


def test_the_demo_tells_its_story(tmp_path):
    result = CliRunner().invoke(
        cli, ["demo", "--out", str(tmp_path / "demo"), "--seconds", "4"], catch_exceptions=False
    )
    text = result.output
    assert result.exit_code == 0
    assert re.search(r"1,000 cells \(\d+ train, \d+ val\)", text)
    assert re.search(r"\d+ cells, each once; [\d,]+ cells/s", text)
    before, after, total = map(
        int, re.search(r"(\d+) cells before the kill, (\d+) after it: none .* of (\d+)", text).groups()
    )
    assert before + after == total
    assert before >= 320
    ranked = re.findall(r"cell +\d+: <cls>, (.*) … \(\d+ tokens\)", text)
    assert len(ranked) == 3
    assert all(len(genes.split(", ")) == 5 for genes in ranked)
    losses = {name.strip(): float(loss) for name, loss in re.findall(r"^ {5}(\D.*?) {2,}([\d.]+)$", text, re.MULTILINE)}
    assert {"global mean", "gene mean", "shifted gene mean"} < set(losses)
    model = next(loss for name, loss in losses.items() if "steps" in name)
    claimed = re.search(r"The model beats (.*?)\.", text).group(1)
    for name in ("global mean", "gene mean", "shifted gene mean"):
        assert (re.search(rf"\b(?<!shifted ){name}\b", claimed) is not None) == (model < losses[name])
    assert (tmp_path / "demo" / "model" / "curve.png").stat().st_size > 1000
    assert verify_shards(tmp_path / "demo" / "counts.set").ok


def test_the_demo_runs_twice_into_one_folder_and_speaks_json(tmp_path):
    arguments = ["demo", "--out", str(tmp_path), "--seconds", "0.5", "--json"]
    results = [CliRunner().invoke(cli, arguments) for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 0]
    tables = [json.loads(result.stdout) for result in results]
    for table in tables:
        assert table["resume"]["before"] + table["resume"]["after"] == table["stream"]["cells"]
        assert set(table["train"]["baselines"]) == {"global_mean", "gene_mean", "shifted_gene_mean"}
    assert tables[0]["ranks"] == tables[1]["ranks"]

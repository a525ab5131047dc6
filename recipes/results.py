"""All figures of RESULTS.md: every recipe on three public sets with three seeds, embeddings judged, as Markdown tables.

    python recipes/results.py --data DIR --out results --jobs 2

What is done is kept, so the same command goes on. DIR holds the files that `SETS` names.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class Corpus(NamedTuple):
    """A file of cells, the obs column of their labels, and steps of 32 cells to train for."""

    file: str
    label: str
    steps: int


SETS = {
    "pbmc": Corpus("human_pbmc_ifnb_14k.h5ad", "condition", 300),
    "pancreas": Corpus("tasks/annot_human_pancreas_baron_4donors.h5ad", "cell_type", 120),
    "lung": Corpus("human_lung_cell_lines_celseq2.h5ad", "cell_line", 120),
}
# a softmax over all genes takes a core a second a step
_SLOW = [("masked_gene_modelling", "geneformer-v2")]
# a recipe, and the preset asked for; "" is its own
RECIPES = [
    ("masked_gene_modelling", ""),
    ("masked_gene_modelling", "geneformer-v2"),
    ("autoregressive", ""),
    ("masked_diffusion", ""),
    ("joint_embedding", ""),
    ("read_depth", ""),
]
SEEDS = (0, 1, 2)
# recipes that sample cells, and what their scripts are told beside the checkpoint, for the first of the sets
SAMPLED = {"autoregressive": [], "masked_diffusion": ["--compare"]}


class Job(NamedTuple):
    """One training run."""

    recipe: str
    preset: str
    corpus: str
    seed: int

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.recipe, self.preset, self.corpus, str(self.seed))))


def run(command: Sequence[Any]) -> str:
    """What a command prints; an error if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


def build(data: Path, out: Path) -> None:
    """A set of counts of each file, a tenth of its cells to judge by, with fitted statistics."""
    for name, corpus in SETS.items():
        path = out / f"{name}.set"
        if not (path / "stats.arrow").exists():
            scdata = [sys.executable, "-m", "scdata.cli.main"]
            run([*scdata, "build", data / corpus.file, "-o", path, "--split", "val=0.1"])
            run([*scdata, "fit", path])


def train(job: Job, out: Path) -> dict[str, Any]:
    """The result of a run, trained now or taken from an earlier sitting."""
    folder = out / job.name
    result = folder / "result.json"
    if not result.exists():
        resume = ["--resume"] if list(folder.glob("checkpoint-*.pt")) else []
        flags = ["--set", out / f"{job.corpus}.set", "--out", folder, "--seed", job.seed, "--json", *resume]
        flags += ["--preset", job.preset] if job.preset else []
        if job.recipe == "masked_diffusion" and SETS[job.corpus].label != "condition":
            folder.mkdir(parents=True, exist_ok=True)
            own, text = folder / "config.toml", (HERE / job.recipe / "config.toml").read_text(encoding="utf-8")
            own.write_text(text.replace('conditions = ["condition"]', "conditions = []"), encoding="utf-8")
            flags += ["--config", own]
        n_steps = SETS[job.corpus].steps // (2 if (job.recipe, job.preset) in _SLOW else 1)
        steps = ["--max-steps", n_steps]
        printed = run([sys.executable, HERE / job.recipe / "train.py", *flags, *steps])
        result.write_text(printed.splitlines()[-1], encoding="utf-8")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def sample(recipe: str, out: Path) -> str:
    """What `sample.py` says of 400 cells that the first seed draws."""
    corpus = next(iter(SETS))
    found = out / f"sampled-{recipe}.txt"
    if not found.exists():
        checkpoint = max((out / Job(recipe, "", corpus, SEEDS[0]).name).glob("checkpoint-*.pt"))
        flags = ["--checkpoint", checkpoint, "--set", out / f"{corpus}.set", "-n", 400, *SAMPLED[recipe]]
        printed = run([sys.executable, HERE / recipe / "sample.py", *flags, "-o", out / f"sampled-{recipe}.h5ad"])
        found.write_text(printed, encoding="utf-8")
    return found.read_text(encoding="utf-8")


def judge(corpus: str, out: Path) -> str:
    """The table of `evaluate.py annotation` for the first seed of each recipe."""
    folder = out / f"annotation-{corpus}"
    if not (folder / "table.txt").exists():
        names = []
        for recipe, preset in RECIPES:
            job = Job(recipe, preset, corpus, SEEDS[0])
            names.append(f"checkpoint:{max((out / job.name).glob('checkpoint-*.pt'))}")
        flags = ["--set", out / f"{corpus}.set", "--labels", SETS[corpus].label, "--representation", *names]
        run([sys.executable, HERE / "evaluate.py", "annotation", *flags, "--out", folder])
    return (folder / "table.txt").read_text(encoding="utf-8")


def rows(results: dict[Job, dict[str, Any]]) -> Iterator[str]:
    """Markdown: a row for each recipe and set, means over seeds, never without what needs no model."""
    yield "| recipe | tokens | set | unit | best without a model | model, mean of seeds ± sd | smaller by | seconds | loader |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for recipe, preset in RECIPES:
        for corpus in SETS:
            own = [results[Job(recipe, preset, corpus, seed)] for seed in SEEDS]
            # baselines may depend on the model, and so on the seed
            trivial = {n: statistics.mean(one["baselines"][n] for one in own) for n in own[0]["baselines"]}
            name, best = min(trivial.items(), key=lambda item: item[1])
            losses = [one["val_loss"] for one in own]
            mean, spread = statistics.mean(losses), statistics.stdev(losses)
            seconds = statistics.mean(one["seconds"] for one in own)
            share = statistics.mean(one["loader_share"] for one in own)
            yield (
                f"| {recipe} | {own[0]['preset']} | {corpus} | {own[0]['unit'].replace('^2', '²')} | {best:.4f} "
                f"({name.replace('_', ' ')}) | {mean:.4f} ± {spread:.4f} | {1 - mean / best:.1%} | "
                f"{seconds:.0f} | {share:.1%} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", required=True, type=Path, help="folder of the h5ad files")
    parser.add_argument("--out", required=True, type=Path, help="folder for sets, runs and tables")
    parser.add_argument("--only", action="append", help="train only these recipes, and print no tables")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one thread; default: 2")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    build(args.data, args.out)
    jobs = [Job(*recipe, corpus, seed) for corpus in SETS for seed in SEEDS for recipe in RECIPES]
    jobs = [job for job in jobs if not args.only or job.recipe in args.only]
    results: dict[Job, dict[str, Any]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for job, result in zip(jobs, pool.map(lambda job: train(job, args.out), jobs), strict=True):
            results[job] = result
            print(f"  {len(results)} of {len(jobs)}: {job.name} {result['val_loss']:.4f}", file=sys.stderr, flush=True)
    if args.only:
        return
    print("\n".join(rows(results)))
    for recipe in SAMPLED:
        print(f"\nSampled by {recipe}\n\n```\n{sample(recipe, args.out).rstrip()}\n```")
    for corpus in SETS:
        print(f"\n{corpus}\n\n```\n{judge(corpus, args.out).rstrip()}\n```")


if __name__ == "__main__":
    main()

"""Judge representations of cells on a task, beside what needs no model.

    python recipes/evaluate.py annotation --set cells.set --labels cell_type --representation file:emb.parquet --out judged

Folders: tasks/README.md says what is measured, and how to add a task.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scdata import ScdataError


class Task(NamedTuple):
    """A module of tasks/, which is imported when its task is asked for, and what help says: its question, and what it reads."""

    module: str
    asks: str
    needs: str


TASKS = {
    "annotation": Task(
        "annotation", "which label does a cell have?", "a set, and an obs column of labels (--labels cell_type)"
    ),
    "novel-labels": Task(
        "novel_labels",
        "does a label that was never seen stand apart?",
        "a set, and an obs column of three labels or more",
    ),
    "batch-correction": Task(
        "batch_correction",
        "are cells of a label near each other, and batches mixed?",
        "a set, and obs columns of labels and batches (--batch)",
    ),
    "cross-species": Task(
        "cross_species",
        "which label does a cell of another species have?",
        "two sets with a common obs column of labels; a table of --orthologs, unless they share genes",
    ),
    "drug-response": Task(
        "drug_response",
        "how do unseen cell lines answer drugs, or lines unseen drugs?",
        "tables of --expression and --response, and no set",
    ),
    "perturbation": Task(
        "perturbation",
        "what does a perturbation change that was never seen?",
        "a set of a screen, whose manifest names the controls (or --perturbation, --control)",
    ),
    "grn": Task("grn", "which genes does a transcription factor regulate?", "a set, and a table of known --edges"),
}
REPRESENTATIONS = """representations (--representation, several may follow):
  checkpoint:PATH        of any recipe, embedded here on the CPU (embed.py does it on a GPU, for file:)
  file:EMB.parquet       columns cell_id (int64) and embedding (a fixed-size list of float32); of several sets also set (int),
                         the place of the set on the command line, from 0. Every cell once
  obsm:FILE.h5ad:KEY     an array of an AnnData's obsm; cells by its obs column cell_id, else by its obs names
judged beside them, always (--baselines takes fewer, never none):
  sctop                  normal scores of ranks over all genes; read off by scTOP's projection, and by probes on 220 components
  pca                    50 components of 2,000 variable genes, log-normalized
  lognorm                all genes, log-normalized (linear probe only)
  depth                  total counts and number of genes
  random                 chance
"""
EXAMPLE = """example, of labels by a model and by what needs none:
  python recipes/evaluate.py annotation --set cells.set --labels cell_type \\
      --representation checkpoint:run/checkpoint-000002000.pt --out judged
what a task takes: python recipes/evaluate.py TASK --help
"""
# whose rows are not representations of cells; that read no set
OF_TABLES = {"drug-response"}
OF_CELLS = set(TASKS) - OF_TABLES - {"perturbation", "grn"}


def load(name: str) -> ModuleType:
    """A module beside this script. They bring scikit-learn and torch, which the list of tasks does without."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is needed to judge representations: pip install 'scdata-engine[eval]'")


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0], epilog=f"{REPRESENTATIONS}\n{EXAMPLE}", formatter_class=raw
    )
    tasks = parser.add_subparsers(dest="task", required=True, title="tasks", metavar="TASK")
    for name, task in TASKS.items():
        own = tasks.add_parser(name, help=f"{task.asks} Needs {task.needs}", formatter_class=raw)
        if name not in sys.argv[1:2]:
            continue
        module = load(f"tasks.{task.module}")
        own.description = module.__doc__
        if name in OF_CELLS:
            known = load("tasks.representations")
            own.epilog = REPRESENTATIONS
            own.add_argument("--representation", nargs="+", default=[], metavar="NAME", help="what to judge; see below")
            own.add_argument(
                "--baselines",
                nargs="+",
                choices=known.PARAMETER_FREE,
                help="parameter-free ones beside it; default: all",
            )
        if name not in OF_TABLES:
            own.add_argument("--set", nargs="+", required=True, help="folders of sets of counts")
            own.add_argument(
                "--split", action="append", default=[], help="splits of the sets, one a flag; default: all"
            )
            own.add_argument(
                "--max-cells", type=int, default=20_000, help="take a fair sample of more cells; default: 20,000"
            )
        own.add_argument("--splits", type=int, default=5, metavar="N", help="parts, each tested in turn; default: 5")
        own.add_argument("--seed", type=int, default=0, help="of splits and all that is random; default: 0")
        own.add_argument(
            "--out", type=Path, required=True, help="folder for scores.csv, table.txt, scores.png, result.json"
        )
        own.add_argument("--json", action="store_true", help="print only the result, as one line of JSON")
        module.add_options(own)
    # the parser would only list the tasks
    if (word := next((word for word in sys.argv[1:] if not word.startswith("-")), None)) not in (None, *TASKS):
        parser.error(f"unknown task {word!r}: {load('common.config').nearest(str(word), TASKS)}")
    args = parser.parse_args()
    for name, least in (("splits", 2), ("max_cells", 10), ("seed", 0)):
        if getattr(args, name, least) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: at least {least}")
    return args


def main() -> None:
    begin = time.monotonic()
    args = parse()
    load("tasks.progress").PROGRESS.begin(begin, silent=args.json)
    try:
        cells = args.task in OF_CELLS
        judged = [load("tasks.representations").chosen(args.representation, args.baselines)] if cells else []
        outcome = load(f"tasks.{TASKS[args.task].module}").run(args, *judged)
        sets = {} if args.task in OF_TABLES else {"sets": args.set}
        run = {"task": args.task, **sets, "splits": args.splits, "seed": args.seed}
        result = run | outcome.write(args.out) | {"seconds": round(time.monotonic() - begin, 1)}
    except (ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(outcome.lines()))
        print(f"\n{result['seconds']:.0f} s. Scores by split, table and picture: {args.out}")


if __name__ == "__main__":
    main()

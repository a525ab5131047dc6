"""Judge representations of cells on a task, beside what needs no model.

    python recipes/evaluate.py annotation --set cells.set --labels cell_type --representation file:emb.parquet --out judged

Folders: tasks/README.md says what is measured, and how to add a task.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from common.config import nearest
    from tasks import annotation, batch_correction, cross_species, drug_response, grn, novel_labels, perturbation
    from tasks.representations import HELP, PARAMETER_FREE, chosen
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is needed to judge representations: pip install 'scdata-engine[eval]'")

from scdata import ScdataError

TASKS = {
    "annotation": annotation,
    "novel-labels": novel_labels,
    "batch-correction": batch_correction,
    "cross-species": cross_species,
    "drug-response": drug_response,
    "perturbation": perturbation,
    "grn": grn,
}
# whose rows are not representations of cells; that read no set
OF_TABLES = {"drug-response"}
OF_CELLS = set(TASKS) - OF_TABLES - {"perturbation", "grn"}


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], epilog=HELP, formatter_class=raw)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="TASK", help=", ".join(TASKS))
    for name, task in TASKS.items():
        cells = name in OF_CELLS
        own = tasks.add_parser(name, description=task.__doc__, epilog=HELP if cells else "", formatter_class=raw)
        if cells:
            own.add_argument("--representation", nargs="+", default=[], metavar="NAME", help="what to judge; see below")
            own.add_argument(
                "--baselines", nargs="+", choices=PARAMETER_FREE, help="parameter-free ones beside it; default: all"
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
        task.add_options(own)
    # the parser would only list the tasks
    if (word := next((word for word in sys.argv[1:] if not word.startswith("-")), None)) not in (None, *TASKS):
        parser.error(f"unknown task {word!r}: {nearest(str(word), TASKS)}")
    args = parser.parse_args()
    for name, least in (("splits", 2), ("max_cells", 10), ("seed", 0)):
        if getattr(args, name, least) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: at least {least}")
    return args


def main() -> None:
    args = parse()
    begin = time.monotonic()
    try:
        judged = [chosen(args.representation, args.baselines)] if args.task in OF_CELLS else []
        outcome = TASKS[args.task].run(args, *judged)
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

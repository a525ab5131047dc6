"""How much genes attend to regulators in a checkpoint of a recipe, as the mean over a set's cells: a Parquet file of edges.

    python recipes/attention.py cells.set --checkpoint run/checkpoint-000002000.pt --regulators factors.txt -o attention.parquet

Columns: source (feature id of the regulator, the key), target (the gene that attends to it, the query), attention float32 and
n_cells int32, the cells that it is a mean over. common/attention.py says which mean. Pairs that no cell has are not there.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.csv as pc  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from common.attention import AttentionMeans  # noqa: E402
from common.data import gene_rows, open_split  # noqa: E402
from common.trained import Trained, load_trained  # noqa: E402
from embed import splits_of  # noqa: E402
from tqdm import tqdm  # noqa: E402

import scdata  # noqa: E402


def read_regulators(path: Path, genes: Sequence[str], symbols: dict[str, str]) -> list[str]:
    """Feature ids of those names in a file that are genes: a name a line, or the column ``source`` of a table.

    Parameters
    ----------
    path
        ``.parquet``, ``.csv`` or ``.tsv``: a table; else text.
    genes
        Feature ids.
    symbols
        Feature id of each symbol.

    Raises
    ------
    ValueError
        If the table has no such column, or no name is a gene.
    """
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    elif path.suffix in (".csv", ".tsv"):
        delimiter = "\t" if path.suffix == ".tsv" else ","
        table = pc.read_csv(path, parse_options=pc.ParseOptions(delimiter=delimiter))
    else:
        table = pa.table({"source": path.read_text(encoding="utf-8").split()})
    if "source" not in table.column_names:
        raise ValueError(f"{path} has no column 'source': it has {', '.join(map(repr, table.column_names))}")
    named = dict.fromkeys(table["source"].to_pylist())
    there = set(genes)
    found = dict.fromkeys(gene for name in named if (gene := name if name in there else symbols.get(name)) in there)
    if not found:
        raise ValueError(f"none of {len(named):,} names in {path} is one of the model's {len(there):,} genes")
    return [gene for gene in found if gene is not None]


def symbols_of(path: str) -> dict[str, str]:
    """Feature id of each gene symbol of a set in a folder; of several genes with one symbol the first."""
    file = Path(path) / "var.parquet"
    table = pq.read_table(file) if file.is_file() else pa.table({})
    column = next((name for name in ("gene_symbol", "feature_name") if name in table.column_names), None)
    pairs = [] if column is None else zip(table[column].to_pylist(), table["feature_id"].to_pylist(), strict=True)
    return {symbol: gene for symbol, gene in reversed(list(pairs)) if symbol}


def write_edges(means: AttentionMeans, trained: Trained, out: Path) -> int:
    """Write the pairs that some cell has to a file that is there whole or not at all; returns how many."""
    temporary, names, n = out.with_name(f".{out.name}.tmp"), pa.array(means.genes), 0
    about = {"scdata.run": json.dumps(trained.run)}
    schema = pa.schema(
        {"source": pa.string(), "target": pa.string(), "attention": pa.float32(), "n_cells": pa.int32()}, about
    )
    try:
        with pq.ParquetWriter(temporary, schema) as writer:
            for source, weights, n_cells in zip(means.regulators, means.mean(), means.n_cells, strict=True):
                there = np.flatnonzero(n_cells)
                columns = [[source] * len(there), names.take(there), weights[there].astype(np.float32), n_cells[there]]
                writer.write_table(pa.table(columns, schema=schema))
                n += len(there)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("set", help="folder or address of a set with the genes that the model learned from")
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint-*.pt of a recipe's --out folder")
    parser.add_argument(
        "--regulators",
        required=True,
        type=Path,
        help="text, a gene a line, or a table (Parquet, CSV, TSV) with the column source; feature ids or symbols",
    )
    parser.add_argument("-o", "--out", required=True, type=Path, help="Parquet file")
    parser.add_argument("--split", action="append", help="splits, one a flag; default: all")
    parser.add_argument("--cells", type=int, help="a fair sample of so many cells of each split; default: all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    args = parser.parse_args()
    try:
        splits = args.split or splits_of(args.set)
        trained = load_trained(args.set, args.checkpoint, args.device)
        data = [open_split(args.set, split, trained.recipe, trained.tokenizer) for split in splits]
        genes = list(gene_rows(data[0], trained.recipe))
        means = AttentionMeans(read_regulators(args.regulators, genes, symbols_of(args.set)), genes)
        n = 0
        for split, cells in zip(splits, data, strict=True):
            subset = None if args.cells is None else min(args.cells, cells.n_cells)
            steps = means.add_split(args.set, trained, split, subset)
            n += sum(tqdm(steps, desc=split, unit=" batches", disable=None))
        pairs = write_edges(means, trained, args.out)
        print(f"{args.out}: attention in {pairs:,} pairs with {len(means.regulators):,} regulators, over {n:,} cells")
    except (scdata.ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

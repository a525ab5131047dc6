"""Embeddings of a set's cells by a checkpoint of any recipe: a Parquet file with a row a cell.

    python recipes/embed.py pbmc.set --checkpoint run/checkpoint-000002000.pt -o emb.parquet

Columns: cell_id int64, split, and embedding, a list of D float32. Shapes: N cells, B of a batch, D width.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from common.data import gene_rows, open_split, to_device  # noqa: E402
from common.trained import Trained, load_trained  # noqa: E402
from tqdm import tqdm  # noqa: E402

import scdata  # noqa: E402


@torch.no_grad()
def iter_embeddings(
    path: str, trained: Trained, split: str, batch_size: int = 64
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cell ids int64 (B,) and embeddings float32 (B, D) of a split, batch by batch in the stored order."""
    device = next(trained.model.parameters()).device
    options = {"objective": None, "shuffle": False, "batch_size": batch_size, **trained.recipe.embed_options()}
    for batch in open_split(path, split, trained.recipe, trained.tokenizer, **options):
        yield batch["cell_id"].numpy(), trained.model.embed(to_device(batch, device)).cpu().numpy()


def embed_set(
    path: str, checkpoint: Path, splits: Sequence[str] | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Cell ids int64 (N,) and embeddings float32 (N, D), in memory; `splits` None: all of them."""
    trained = load_trained(path, checkpoint, device)
    parts = [part for split in splits or splits_of(path) for part in iter_embeddings(path, trained, split)]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts])


def splits_of(path: str) -> list[str]:
    """Names of the splits of a set in a folder.

    Raises
    ------
    ValueError
        If its manifest cannot be read here, as of a set at an address.
    """
    try:
        return list(json.loads((Path(path) / "manifest.json").read_text(encoding="utf-8"))["splits"])
    except OSError as error:
        raise ValueError(f"{path}: no manifest to take the splits from ({error}): name them with --split") from error


def write_parquet(path: str, trained: Trained, splits: Sequence[str], out: Path) -> int:
    """Write embeddings of splits to a file that is there whole or not at all; returns the number of cells."""
    temporary, writer, n = out.with_name(f".{out.name}.tmp"), None, 0
    try:
        for split in splits:
            batches = iter_embeddings(path, trained, split)
            for cell_id, rows in tqdm(batches, desc=split, unit=" batches", disable=None):
                flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
                table = pa.table({"cell_id": cell_id, "split": [split] * len(rows), "embedding": flat})
                if writer is None:
                    about = {"scdata.run": json.dumps(trained.run)}
                    writer = pq.ParquetWriter(temporary, table.schema.with_metadata(about))
                writer.write_table(table)
                n += len(rows)
        if writer is None:
            raise ValueError(f"{path} has no cells in {', '.join(splits)}")
        writer.close()
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return n


def embed_genes(path: str, trained: Trained) -> tuple[list[str], np.ndarray]:
    """The model's own embeddings of genes, those that it looks up before it sees a cell: feature ids (G) and float32 (G, D)."""
    options = trained.recipe.embed_options()
    data = open_split(path, splits_of(path)[0], trained.recipe, trained.tokenizer, **options)
    places = gene_rows(data, trained.recipe)
    # of a student and a teacher, the teacher's: it comes second, and embeds cells too
    table = [module for name, module in trained.model.named_modules() if name.split(".")[-1] == "gene"][-1]
    return list(places), table.weight.detach().cpu().numpy()[list(places.values())].astype(np.float32)


def write_genes(path: str, trained: Trained, out: Path) -> int:
    """Write what `embed_genes` gives: columns gene and embedding, a list of float32; returns the number of genes."""
    genes, rows = embed_genes(path, trained)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
    pq.write_table(pa.table({"gene": genes, "embedding": flat}), out)
    return len(rows)


def write_obsm(path: str, splits: Sequence[str], embeddings: Path, out: Path) -> None:
    """An h5ad file of the cells, in memory, with their embeddings as ``obsm["X_scdata"]``; for sets of counts."""
    import anndata

    table = pq.read_table(embeddings, columns=["cell_id", "embedding"])
    rows = np.stack(table["embedding"].to_numpy())
    place = {cell: row for row, cell in enumerate(table["cell_id"].to_pylist())}
    cells = anndata.concat([scdata.to_anndata(path, split=split) for split in splits], merge="same")
    cells.obsm["X_scdata"] = rows[[place[cell] for cell in cells.obs["cell_id"]]]
    cells.write_h5ad(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("set", help="folder or address of a set with genes that the model knows")
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint-*.pt of a recipe's --out folder")
    parser.add_argument("-o", "--out", required=True, type=Path, help="Parquet file")
    parser.add_argument("--split", action="append", help="splits, one a flag; default: all")
    parser.add_argument("--h5ad", type=Path, help="also write the cells, with embeddings in obsm['X_scdata']")
    parser.add_argument(
        "--genes", type=Path, help="also write the model's embeddings of genes: Parquet, for evaluate.py"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    args = parser.parse_args()
    try:
        splits = args.split or splits_of(args.set)
        trained = load_trained(args.set, args.checkpoint, args.device)
        n = write_parquet(args.set, trained, splits, args.out)
        print(f"{args.out}: embeddings of {n:,} cells by {trained.run['recipe']} ({trained.run['preset']})")
        if args.genes is not None:
            print(f"{args.genes}: embeddings of {write_genes(args.set, trained, args.genes):,} genes")
        if args.h5ad is not None:
            write_obsm(args.set, splits, args.out, args.h5ad)
            print(f"{args.h5ad}: the cells with obsm['X_scdata']")
    except (scdata.ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

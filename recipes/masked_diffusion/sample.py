"""Draw cells from a model of masked diffusion, all genes hidden at first, and put them beside real ones.

    python recipes/masked_diffusion/sample.py --checkpoint run/checkpoint-000000600.pt --set pbmc.set -n 200 \
        --condition condition=IFN-beta --guidance 0 --steps 64 --compare -o cells.h5ad

Shapes: B cells, G genes, K levels, M hidden genes, C condition columns.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common.config import nearest  # noqa: E402
from common.data import open_split  # noqa: E402
from common.realism import compare, table  # noqa: E402
from common.trained import Trained, load_trained  # noqa: E402
from scipy import sparse  # noqa: E402
from torch import Tensor  # noqa: E402
from tqdm import tqdm  # noqa: E402

import scdata  # noqa: E402

# float32 (M, K): logits of the hidden genes of rows and columns (M,), given levels (B, G) with K where they are hidden
Logits = Callable[[Tensor, Tensor, Tensor], Tensor]


def guided(model: Any, conditions: Tensor, guidance: float) -> Logits:
    """Logits under conditions, int64 (B, C), pushed away from those without: u + (w + 1)(c − u).

    Classifier-free guidance (Ho and Salimans, arXiv 2207.12598) in the form told of Lingshu-Cell, w = 2.5 there, second-hand;
    w = 0 leaves the conditional model as it is, −1 gives the unconditional one.
    """

    def logits(levels: Tensor, row: Tensor, gene: Tensor) -> Tensor:
        if guidance == 0:
            found: Tensor = model.logits(levels, conditions, row, gene)
            return found
        free = model.logits(levels, model.hidden_conditions(len(levels)), row, gene)
        if guidance == -1:
            return free
        return free + (guidance + 1) * (model.logits(levels, conditions, row, gene) - free)

    return logits


@torch.no_grad()
def denoise(logits: Logits, levels: Tensor, n_levels: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Levels (B, G) after each of `steps` steps, fewer and fewer hidden, none in the end.

    Time falls from 1 to 0 in equal steps. From t to s each hidden gene is drawn and revealed with the chance (t − s) / t; a
    revealed one stays as it is, and is what later ones are drawn by (Sahoo et al., "Simple and effective masked diffusion
    language models", NeurIPS 2024).

    Parameters
    ----------
    logits
        What the model says of hidden genes.
    levels
        int64 (B, G): `n_levels` where they are to be drawn; all else stays.
    generator
        Of the draws.
    """
    levels = levels.clone()
    for step in range(steps):
        row, gene = (levels == n_levels).nonzero(as_tuple=True)
        chance = 1 / (steps - step)  # (t − s) / t
        chosen = torch.rand(len(row), generator=generator, device=levels.device) < chance
        if step == steps - 1:
            chosen[:] = True
        row, gene = row[chosen], gene[chosen]
        if len(row):
            shares = logits(levels, row, gene).softmax(-1)
            levels[row, gene] = torch.multinomial(shares, 1, generator=generator).squeeze(1)
        yield levels.clone()


def condition_ids(model: Any, wanted: Sequence[str]) -> Tensor:
    """int64 (1, C) of ``COLUMN=VALUE``; columns that are not named are hidden."""
    ids = model.hidden_conditions(1).clone()
    columns = list(model.categories)
    for text in wanted:
        name, _, value = text.partition("=")
        if name not in columns:
            known = nearest(name, columns) if columns else "it has none"
            raise ValueError(f"--condition {text}: the model learned no condition {name!r}: {known}")
        if value not in model.categories[name]:
            raise ValueError(f"--condition {text}: no value {value!r}: {nearest(value, model.categories[name])}")
        ids[0, columns.index(name)] = model.categories[name].index(value)
    return ids


def kept_levels(
    wanted: Sequence[str], genes: Sequence[str], symbols: Mapping[str, str], lowest: Tensor
) -> dict[int, int]:
    """Level by column of ``GENE=COUNT``, genes by id or symbol; `lowest` float32 (K,): counts at which levels start."""
    by_name = {symbols.get(gene, gene): column for column, gene in enumerate(genes)}
    by_name |= {gene: column for column, gene in enumerate(genes)}
    found = {}
    for text in wanted:
        name, _, count = text.rpartition("=")
        if name not in by_name:
            close = nearest(name, by_name).split(" Known:")[0].split("Known:")[0]
            raise ValueError(f"--keep {text}: {name!r} is none of the model's {len(genes):,} genes. {close}".strip())
        if not count.isdigit():
            raise ValueError(f"--keep {text}: {count!r} is no count: expected GENE=COUNT, such as ISG15=0")
        found[by_name[name]] = int(torch.searchsorted(lowest, float(count), right=True)) - 1
    return found


def real_counts(path: str, trained: Trained, split: str, conditions: Sequence[str], most: int) -> sparse.csr_matrix:
    """Real cells of the conditions as the sampler would write them, levels at their lowest counts: CSR (N, G)."""
    own = " and ".join(f"{name} == '{value}'" for name, _, value in (text.partition("=") for text in conditions))
    options = {"objective": None, "shuffle": False, "batch_size": 256, "filter": own or None}
    lowest, parts, n = trained.model.counts.cpu().numpy(), [], 0
    for batch in open_split(path, split, trained.recipe, trained.tokenizer, **options):
        parts.append(sparse.csr_matrix(lowest[batch["values"].clamp(min=0).numpy()].astype(np.int32)))
        n += parts[-1].shape[0]
        if n >= most:
            break
    return sparse.vstack(parts).tocsr()[:most]


def draw(trained: Trained, args: argparse.Namespace, genes: Sequence[str], symbols: Mapping[str, str]) -> np.ndarray:
    """Counts int32 (n, G) of new cells."""
    model: Any = trained.model
    device = model.log_gene.device
    lowest, n_levels = model.counts.cpu(), model.n_levels
    conditions, kept = condition_ids(model, args.condition), kept_levels(args.keep, genes, symbols, lowest)
    generator, parts = torch.Generator(device).manual_seed(args.seed), []
    for first in tqdm(range(0, args.n, args.batch_size), unit=" batches", disable=None):
        n = min(args.batch_size, args.n - first)
        levels = torch.full((n, len(genes)), n_levels, device=device)
        for column, level in kept.items():
            levels[:, column] = level
        logits = guided(model, conditions.expand(n, -1), args.guidance)
        *_, drawn = denoise(logits, levels, n_levels, args.steps, generator)
        parts.append(lowest[drawn.cpu()].numpy().astype(np.int32))
    return np.concatenate(parts)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint-*.pt of a run of masked_diffusion")
    parser.add_argument("--set", required=True, help="the set it learned from: its genes, and real cells for --compare")
    parser.add_argument("-n", "--n", type=int, default=200, help="cells to draw; default: %(default)s")
    parser.add_argument(
        "--condition", action="append", default=[], metavar="COLUMN=VALUE", help="may come more than once"
    )
    parser.add_argument("--guidance", type=float, default=0.0, help="w of u + (w + 1)(c - u); default: 0, none")
    parser.add_argument("--steps", type=int, default=64, help="from all hidden to none; default: %(default)s")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="GENE=COUNT", help="a gene that is known, such as 0"
    )
    parser.add_argument(
        "--compare", action="store_true", help="beside real cells of the val split, and genes drawn singly"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--batch-size", type=int, default=64, help="cells drawn at once; default: %(default)s")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("-o", "--out", required=True, type=Path, help="h5ad file")
    args = parser.parse_args()
    for name in ("n", "steps", "batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} = {getattr(args, name)}: at least 1")
    return args


def main() -> None:
    try:
        args = parse()
        trained = load_trained(args.set, args.checkpoint, args.device)
        if not hasattr(trained.model, "hidden_conditions"):
            raise ValueError(
                f"{args.checkpoint} is of {trained.run['recipe']}, and this draws cells of masked_diffusion"
            )
        data = open_split(args.set, "train", trained.recipe, trained.tokenizer)
        genes, symbols = data.dense_feature_ids, dict(zip(data.vocab.feature_ids, data.vocab.symbols, strict=True))
        counts = draw(trained, args, genes, symbols)
        write(args, trained, counts, genes, symbols)
        print(
            f"{args.out}: {args.n:,} cells of {len(genes):,} genes, {(counts > 0).sum(1).mean():,.0f} found in a cell"
        )
        if args.compare:
            real = real_counts(args.set, trained, "val", args.condition, args.n)
            train = real_counts(args.set, trained, "train", args.condition, 100_000)
            print("\n".join(table(compare(real, sparse.csr_matrix(counts), train, args.seed))))
    except (scdata.ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def write(
    args: argparse.Namespace, trained: Trained, counts: np.ndarray, genes: Sequence[str], symbols: Mapping[str, str]
) -> None:
    """The cells as AnnData: counts in ``X``, conditions in ``obs``, how they were drawn in ``uns``."""
    import anndata
    import pandas as pd

    columns = dict(text.split("=", 1) for text in args.condition)
    obs = pd.DataFrame(columns, index=[f"sampled-{cell}" for cell in range(len(counts))])
    var = pd.DataFrame({"symbol": [symbols.get(gene, gene) for gene in genes]}, index=list(genes))
    how = {"checkpoint": str(args.checkpoint), "guidance": args.guidance, "steps": args.steps, "seed": args.seed}
    cells = anndata.AnnData(sparse.csr_matrix(counts), obs, var, uns={"sampled": {**how, "keep": list(args.keep)}})
    cells.write_h5ad(args.out)


if __name__ == "__main__":
    main()

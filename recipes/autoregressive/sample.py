"""Cells drawn by a trained model, and how they compare with real ones, beside genes drawn each on its own.

    python recipes/autoregressive/sample.py --checkpoint run/checkpoint-000000800.pt --set pbmc.set --n 200 -o cells.h5ad

The real cells are those of the val split; counts are clipped as the preset says, in both. Shapes: N cells, L positions so far,
H heads, D width, G genes.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import anndata  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from common import realism  # noqa: E402
from common.blocks import Block  # noqa: E402
from common.data import open_split  # noqa: E402
from common.recipe import Model  # noqa: E402
from common.trained import Trained, load_trained  # noqa: E402
from scipy import sparse  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from tqdm import trange  # noqa: E402

from scdata import ScdataError  # noqa: E402

_AT_ONCE = 64  # cells


class Reader:
    """Reads cells a gene at a time; keeps keys and values of what was read, so that nothing is computed twice."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.keys: list[tuple[Tensor, Tensor] | None] = [None] * len(model.blocks)  # (N, H, L, D/H)
        self.bias: Tensor | None = None  # (N, L)

    def read(self, token_ids: Tensor, counts: Tensor) -> Tensor:
        """The next gene of each cell, int64 (N,), and its count: what `NextGeneModel.encode` gives at it, (N, D)."""
        own = torch.zeros(len(token_ids), 1, device=token_ids.device)
        attend = own if self.bias is None else torch.cat([self.bias, own], 1)
        x = self.model.read(token_ids)
        for number, block in enumerate(self.model.blocks):
            x = self._block(block, number, x, attend[:, None, None])
        mine = torch.log1p(counts.float())[:, None]
        self.bias = mine if self.bias is None else torch.cat([self.bias, mine], 1)
        return self.model.last_norm(x)

    def _block(self, block: Block, number: int, x: Tensor, attend: Tensor) -> Tensor:
        """`Block.forward` at one position: (N, D) to (N, D)."""
        N, D = x.shape
        q, k, v = block.qkv(block.norm_attention(x)).view(N, 3, block.heads, 1, D // block.heads).unbind(1)
        if (held := self.keys[number]) is not None:
            k, v = torch.cat([held[0], k], 2), torch.cat([held[1], v], 2)
        self.keys[number] = k, v
        x = x + block.out(F.scaled_dot_product_attention(q, k, v, attn_mask=attend).reshape(N, D))
        return x + block.forward_(block.norm_forward(x))


def draw_counts(log_rate: Tensor, generator: torch.Generator) -> Tensor:
    """Counts ≥ 1, int64, of Poisson distributions without 0: the time of the first event, given that there is one before time
    1, then a Poisson number for the rest of the time."""
    rate = log_rate.exp()
    uniform = torch.rand(rate.shape, generator=generator, device=rate.device)
    first = -torch.log1p(uniform * torch.expm1(-rate))
    return 1 + torch.poisson((rate - first).clamp(min=0), generator=generator).long()


@torch.no_grad()
def sample(model: Model, n: int, context: int, clip: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Counts int32 (N, G) of `n` cells, and whether each ended by itself, bool (N,), not for lack of context."""
    start, n_genes = int(model.tokens[-1]), len(model.tokens) - 1
    device = model.tokens.device
    token_ids = torch.full((n,), start, device=device)
    counts = torch.ones(n, dtype=torch.long, device=device)  # beside [START]
    seen = torch.full((n, 1), n_genes, device=device)
    cells = torch.zeros(n, n_genes + 1, dtype=torch.int32, device=device)
    going, reader = torch.ones(n, dtype=torch.bool, device=device), Reader(model)
    for position in range(min(context, n_genes)):
        x = reader.read(token_ids, counts)
        end = torch.sigmoid(model.log_odds_of_end(x, torch.full((n,), position, device=device)))
        going &= torch.rand(n, generator=generator, device=device) >= end
        if not going.any():
            break
        column = torch.multinomial(model.log_shares(x, seen).exp(), 1, generator=generator).squeeze(1)
        counts = draw_counts(model.log_rates(x, column), generator).clamp(max=clip)
        cells[torch.arange(n, device=device), column] = torch.where(going, counts, 0).int()
        token_ids, seen = model.tokens[column], torch.cat([seen, column[:, None]], 1)
    return cells[:, :-1], ~going


def sample_cells(trained: Trained, n: int, clip: int | None, seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Counts (N, G), and bool (N,): cells that ended by themselves."""
    device = trained.model.tokens.device
    generator = torch.Generator(device).manual_seed(seed)
    parts = []
    for first in trange(0, n, _AT_ONCE, desc="cells", unit=f" x {_AT_ONCE}", disable=None):
        context = trained.recipe.config.context_length
        parts.append(sample(trained.model, min(_AT_ONCE, n - first), context, clip, generator))
    cells, ended = (torch.cat(columns).cpu().numpy() for columns in zip(*parts, strict=True))
    return sparse.csr_matrix(cells), ended


def real_cells(path: str, trained: Trained, split: str, most: int) -> sparse.csr_matrix:
    """Counts (N, G) of a split, `most` cells of it at most, whole ones, in the stored order, which is random."""
    options = {"objective": None, "output": "dense", "context_length": None, "shuffle": False, "batch_size": 256}
    parts, n = [], 0
    for batch in open_split(path, split, trained.recipe, trained.tokenizer, **options):
        parts.append(sparse.csr_matrix(batch["values"].numpy()))
        n += parts[-1].shape[0]
        if n >= most:
            break
    return sparse.vstack(parts, "csr")[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--checkpoint", required=True, type=Path, help="checkpoint-*.pt of the recipe's --out folder")
    parser.add_argument("--set", required=True, help="the set that the model learned from")
    parser.add_argument("-n", "--n", type=int, default=200, help="cells; default: 200")
    parser.add_argument("-o", "--out", required=True, type=Path, help="h5ad file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda; default: cpu")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    args = parser.parse_args()
    try:
        if args.n < 1:
            raise ValueError(f"--n {args.n}: at least 1 cell")
        trained = load_trained(args.set, args.checkpoint, args.device)
        if trained.run["recipe"] != HERE.name:
            raise ValueError(
                f"{args.checkpoint} is of recipe {trained.run['recipe']}, which draws no cells in this way"
            )
        data = open_split(args.set, "val", trained.recipe, trained.tokenizer)
        cells, ended = sample_cells(trained, args.n, data.tokenizer.preset.value.clip, args.seed)
        obs = pd.DataFrame({"ended": ended}, index=[f"sampled-{number}" for number in range(args.n)])
        var = pd.DataFrame(index=pd.Index(data.dense_feature_ids, name="feature_id"))
        anndata.AnnData(cells, obs, var, uns={"checkpoint": str(args.checkpoint)}).write_h5ad(args.out)
        real, train = real_cells(args.set, trained, "val", args.n), real_cells(args.set, trained, "train", 20_000)
        found = realism.compare(real, cells, train, args.seed)
    except (ScdataError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if args.json:
        print(json.dumps({**found, "n": args.n, "ended": float(ended.mean())}))
        return
    print(f"{args.out}: {args.n:,} cells, {ended.mean():.0%} ended by themselves, the others at the end of the context")
    genes = [np.median(part.getnnz(1)) for part in (cells, real)]
    print(f"Median genes a cell: {genes[0]:,.0f} sampled, {genes[1]:,.0f} real. Compared with cells of the val split:")
    print("\n".join(realism.table(found)))


if __name__ == "__main__":
    main()

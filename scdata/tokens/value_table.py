"""``[value]`` of a preset file: the number beside each gene."""

import math
from dataclasses import dataclass
from itertools import pairwise

from scdata.tokens.tables import one_of

KINDS = ("counts", "lognorm", "levels", "quantile", "edges", "depth_edges", "rank")


@dataclass(frozen=True, kw_only=True)
class ValueTable:
    """``[value]``: the number beside each gene.

    Parameters
    ----------
    kind
        ``counts`` (raw); ``lognorm`` (ln(1 + x/n·target_sum), float32); ``levels`` (fixed steps of counts); ``quantile``
        (per-cell bins); ``edges`` (bins by fixed edges of lognorm values); ``depth_edges`` (such edges for each stratum of
        read depth); ``rank`` (no number: the order of the tokens says it).
    total
        Denominator n: ``source`` (all genes of the source), ``vocab`` (genes of the vocabulary), or the name of an obs
        column that holds it.
    target_sum
        What totals are scaled to.
    clip
        counts: the largest value.
    scale
        counts: what the genes that stay after the cut sum to, before the clip; values are float32 then. None: as counted.
    medians
        rank: file of per-gene medians that values are divided by; None: fitted to the corpus.
    n_bins
        quantile, edges, depth_edges: number of bins, zero included.
    ties
        quantile: ``upper`` or ``random`` bin where a value owns several.
    edges
        edges: rising lognorm values, where bin 1 ends, bin 2, and so on; none: fitted to the corpus.
    strata, min_cells
        depth_edges: into how many strata of read depth the corpus is cut, and the fewest cells of one.
    level_starts, level_steps
        levels: where each stretch of levels starts (the last one is a single level), and how many counts a level holds.
    pad, special, mask, missing
        Value at padding, at special tokens, at hidden genes, and at genes that a dataset did not measure (None: such genes
        are left out).
    """

    kind: str
    total: str = "source"
    target_sum: float = 1e4
    clip: int | None = None
    scale: float | None = None
    medians: str | None = None
    n_bins: int = 51
    ties: str = "upper"
    edges: tuple[float, ...] = ()
    strata: int = 16
    min_cells: int = 25
    level_starts: tuple[int, ...] = ()
    level_steps: tuple[int, ...] = ()
    pad: int = 0
    special: int = 0
    mask: int | None = None
    missing: int | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        one_of("ties", self.ties, ("upper", "random"))
        if not 3 <= self.n_bins <= 32767:
            raise ValueError(f"n_bins = {self.n_bins}: at least 3 (zero and two more), at most 32767")
        for name in ("target_sum", "scale"):
            number = getattr(self, name)
            if number is not None and not 1e-6 <= number <= 1e18:
                raise ValueError(f"{name} = {number}: must be above 0 and finite, from 1e-6 to 1e18")
        if self.clip is not None and self.clip < 1:
            raise ValueError(f"clip = {self.clip}: at least 1")
        for name, kinds in _ONLY.items():
            if getattr(self, name) not in (None, ()) and self.kind not in kinds:
                raise ValueError(f'{name} with kind = "{self.kind}": it is for kind = "{kinds[0]}"')
        if not 1 <= self.strata <= 256 or self.min_cells < 1:
            raise ValueError(f"strata = {self.strata}, min_cells = {self.min_cells}: from 1 to 256, and at least 1")
        if not all(map(math.isfinite, self.edges)) or any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges = {list(self.edges)}: must rise, and be finite")
        for name in ("pad", "special", "mask", "missing"):
            number = getattr(self, name)
            if number is not None and not -(1 << 31) <= number < 1 << 31:
                raise ValueError(f"{name} = {number}: from -2147483648 to 2147483647")
        self._check_levels()

    def _check_levels(self) -> None:
        starts, steps = self.level_starts, self.level_steps
        if self.kind != "levels":
            return
        rising = all(low < high for low, high in pairwise(starts))
        if not steps or len(starts) != len(steps) + 1 or starts[0] != 0 or not rising or min(steps) < 1:
            raise ValueError(
                f"level_starts = {list(starts)}, level_steps = {list(steps)}: starts rise from 0, one more than steps"
            )
        if any((high - low) % step for low, high, step in zip(starts, starts[1:], steps, strict=False)):
            raise ValueError(f"level_steps = {list(steps)}: each must divide its stretch of {list(starts)}")


_ONLY = {
    "medians": ("rank",),
    "clip": ("counts",),
    "scale": ("counts",),
    "edges": ("edges",),
    "level_starts": ("levels",),
    "level_steps": ("levels",),
}

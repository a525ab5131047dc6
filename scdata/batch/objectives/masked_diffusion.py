"""Masked discrete diffusion: hide as many values of a cell as its time says, and ask for them."""

from dataclasses import dataclass

import numpy as np

from scdata._backend import backend
from scdata._blocks import Array
from scdata.batch.objectives.base import Cells, Column, Objective, Setting, share
from scdata.batch.objectives.hiding import hidden
from scdata.batch.objectives.masked_values import masked_views
from scdata.tokens.tables import one_of

_WEIGHTS = ("none", "elbo")


@dataclass(frozen=True, kw_only=True)
class MaskedDiffusion(Objective):
    """Each cell has a time t, uniform between `t_min` and 1; every gene's value is hidden with the chance t.

    Method: Lingshu-Cell, arXiv 2603.25240, by two second-hand accounts; Sahoo et al., "Simple and effective masked diffusion
    language models", NeurIPS 2024, for the weight of a linear schedule.

    Parameters
    ----------
    t_min
        Least time.
    weight
        ``"none"``: all losses count alike, as in the account of Lingshu-Cell at hand; ``"elbo"``: 1 / t, with which the sum of
        the losses on hidden genes bounds the likelihood of the cell.
    mask_value
        What stands in place of a hidden value; None: ``[value] mask`` of the preset (281 of lingshu-cell).

    Notes
    -----
    In the shape of ``values``: (B, L) padded, (T,) packed, (B, G) dense; and one number a cell:

    ====================  =============================================================================
    ``masked_values``     dtype of ``values``: values, with the mask where they are hidden
    ``masked``            bool: the genes that are asked for; their targets are ``values``
    ``diffusion_time``    float32 (B,): t
    ``diffusion_weight``  float32 (B,): what the losses of the cell are multiplied by
    ====================  =============================================================================

    Genes that were not measured (−1 in lingshu-cell) are neither hidden nor asked for.

    Examples
    --------
    >>> MaskedDiffusion(weight="elbo", t_min=0.01)
    MaskedDiffusion(t_min=0.01, weight='elbo', mask_value=None)
    """

    t_min: float = 0.0
    weight: str = "none"
    mask_value: float | None = None

    def __post_init__(self) -> None:
        share("t_min", self.t_min, ends=True)
        if self.t_min == 1:
            raise ValueError("t_min = 1: below 1")
        one_of("weight", self.weight, _WEIGHTS)

    def check(self, setting: Setting) -> None:
        setting.require_values("MaskedDiffusion")
        setting.mask_value(self.mask_value, "MaskedDiffusion")

    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        xp = backend(cells.token_ids)
        # 52 random bits in the middle of their steps: never 0, never 1
        uniform = ((cells.draws.cell_keys("time") >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        t = xp.minimum(self.t_min + (1 - self.t_min) * uniform, 1 - 2.0**-53)
        chosen = hidden(cells, (t * 2.0**64).astype(np.uint64))
        weight = 1 / t if self.weight == "elbo" else xp.full(len(t), 1.0)
        return {
            **masked_views(cells, chosen, chosen, setting.mask_value(self.mask_value, "MaskedDiffusion"), setting),
            "diffusion_time": t.astype(np.float32),
            "diffusion_weight": weight.astype(np.float32),
        }

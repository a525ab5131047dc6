"""Masked values: hide the numbers beside some genes, and ask for them."""

from dataclasses import dataclass

import numpy as np

from scdata import _jit
from scdata._backend import backend, beside, on_device
from scdata._blocks import Array
from scdata.batch.objectives.base import Cells, Column, Objective, Setting, share, shares
from scdata.batch.objectives.hiding import drawn_rate, hidden, hidden_exactly, per_cell
from scdata.tokens.tables import one_of

_LIKE = ("scgpt-fine-tuning",)


@dataclass(frozen=True, kw_only=True)
class MaskedValues(Objective):
    """Values of some genes are hidden and asked for; which genes they are stays visible.

    Method: Cui et al., "scGPT", Nature Methods 2024; code bowang-lab/scGPT, ``scgpt/data_collator.py`` (the main branch, and
    mode ``pcpt``) and ``scgpt/tokenizer/gene_tokenizer.py`` (``random_mask_value``, for fine-tuning). `zero_rate`: Hao et al.,
    "scFoundation", Nature Methods 2024 (0.3, and 0.03 for zeros, in the released hyper-parameters).

    Parameters
    ----------
    rate
        Chance of each gene; or several rates, of which each global batch draws one.
    zero_rate
        Chance of genes whose value is 0, where cells have such; None: as `rate`.
    replace
        Share of the hidden genes whose value is replaced by the mask; the others keep it, and are asked for all the same.
    mask_value
        What stands there instead; None: ``[value] mask`` of the preset.
    like
        ``"scgpt-fine-tuning"``: as there, exactly ⌊rate · n⌋ of the n tokens of a cell are hidden, ``<cls>`` among them.
        None: each gene by chance, special tokens never.

    Notes
    -----
    In the shape of ``values``: (B, L) padded, (T,) packed, (B, G) dense:

    ===================  ==============================================================================
    ``masked_values``    dtype of ``values``: values, with the mask where they are hidden
    ``masked``           bool: the genes that are asked for; their targets are ``values`` (or ``targets``,
                         where a preset thins its cells)
    ===================  ==============================================================================

    Special tokens, padding, and genes that were not measured are never hidden. In scGPT's pretraining branch the first gene
    after ``<cls>`` is never hidden either, by an accident which is not repeated here.

    Examples
    --------
    >>> MaskedValues(rate=0.4)
    MaskedValues(rate=0.4, zero_rate=None, replace=1.0, mask_value=None, like=None)
    """

    rate: float | tuple[float, ...] = 0.15
    zero_rate: float | None = None
    replace: float = 1.0
    mask_value: float | None = None
    like: str | None = None

    def __post_init__(self) -> None:
        shares("rate", self.rate)
        if self.zero_rate is not None:
            share("zero_rate", self.zero_rate)
        share("replace", self.replace, ends=True)
        if self.like is not None:
            one_of("like", self.like, _LIKE)
            if self.zero_rate is not None:
                raise ValueError(
                    f"zero_rate = {self.zero_rate} with like = {self.like!r}: it has one rate for all values"
                )

    def check(self, setting: Setting) -> None:
        setting.require_values("MaskedValues")
        setting.mask_value(self.mask_value, "MaskedValues")

    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        assert cells.values is not None  # checked
        rate = drawn_rate(self.rate, cells)
        if self.like is not None:
            among = cells.eligible | beside(cells.token_ids, setting.special)[cells.token_ids]
            n = (per_cell(among, cells.indptr) * rate).astype(np.int64)
            chosen = hidden_exactly(cells, n, among)
        elif self.zero_rate is None:
            chosen = hidden(cells, rate)
        else:
            zero = cells.values == 0
            chosen = hidden(cells, rate, cells.eligible & ~zero)
            chosen |= hidden(cells, self.zero_rate, cells.eligible & zero)
        replaced = chosen
        if self.replace < 1:
            replaced = hidden(cells, self.replace, chosen, "replace")
        return masked_views(cells, chosen, replaced, setting.mask_value(self.mask_value, "MaskedValues"), setting)


def masked_views(
    cells: Cells, chosen: Array, replaced: Array, mask_value: float, setting: Setting
) -> dict[str, Column | Array]:
    """The values with `mask_value` where they are `replaced`, and which ones were `chosen`: bool (T,) both."""
    assert cells.values is not None  # the objectives that hide values ask for them
    value = cells.values.dtype.type(mask_value)
    if not on_device(replaced) and _jit.available():
        from scdata.batch.objectives.hiding_jit import replaced_jit

        seen = np.empty_like(cells.values)
        replaced_jit(cells.values, replaced, value, seen)
    else:
        seen = backend(cells.values).where(replaced, value, cells.values)
    return {"masked_values": Column(seen, setting.tokenizer.preset.value.pad), "masked": Column(chosen, 0)}

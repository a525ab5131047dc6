"""Perception and generation: read some genes of a cell with their values, and ask for the values of the others."""

from dataclasses import dataclass

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, row_ends
from scdata._blocks import Array
from scdata.batch.objectives.base import Cells, Column, Objective, Rows, Setting, shares
from scdata.batch.objectives.hiding import drawn_rate, hidden_exactly, per_cell


@dataclass(frozen=True, kw_only=True)
class PerceptionGeneration(Objective):
    """Every cell is split at random in genes that are perceived and genes whose values are generated.

    Method: Cui et al., "scGPT", Nature Methods 2024; code bowang-lab/scGPT, branch dev-temp, ``scgpt/data_collator.py``
    (``data_style="both"``).

    Parameters
    ----------
    rate
        Share of a cell's genes that are generated; or several, of which each global batch draws one, as in the original.

    Notes
    -----
    Of n genes ⌊rate · n⌋ are generated; special tokens are always perceived. Padded, P + Q = L, as in the original, with
    Q = ⌊rate · (L − special tokens)⌋; packed, P and Q are all perceived and all generated tokens of the batch:

    ===================  ==============================================================================
    ``pcpt_token_ids``   dtype of ``token_ids`` (B, P) or (P,): perceived genes, special tokens where they stood
    ``pcpt_values``      dtype of ``values``, as many
    ``pcpt_mask``        bool (B, P), padded only: True at tokens, False at padding
    ``gen_token_ids``    dtype of ``token_ids`` (B, Q) or (Q,): genes to generate
    ``gen_targets``      dtype of ``values``, as many: what they are asked for
    ``gen_mask``         bool (B, Q), padded only
    ``…_cu_seqlens``     int32 (B+1,), packed only, of ``pcpt`` and of ``gen``; ``…_max_seqlen`` int
    ===================  ==============================================================================

    Genes stay in their order; the original permutes them, which its model, without positions, does not see.

    The attention mask is told by ``pcpt_mask`` and ``gen_mask``: perceived tokens attend to perceived ones, a generated one to
    these and to itself. `generation_attention` makes bool (B, L, L) of them, on their device.

    Examples
    --------
    >>> PerceptionGeneration()
    PerceptionGeneration(rate=(0.25, 0.5, 0.75))
    """

    rate: float | tuple[float, ...] = (0.25, 0.5, 0.75)

    def __post_init__(self) -> None:
        shares("rate", self.rate)

    def check(self, setting: Setting) -> None:
        setting.require_sequences("PerceptionGeneration", "padded", "packed")
        setting.require_values("PerceptionGeneration")

    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        assert cells.values is not None  # checked
        rate, xp = drawn_rate(self.rate, cells), backend(cells.indptr)
        n_made = (per_cell(cells.eligible, cells.indptr) * rate).astype(np.int64)
        made = hidden_exactly(cells, n_made, cells.eligible)
        n_seen = xp.diff(cells.indptr) - n_made
        widths: tuple[int | None, int | None] = None, None
        if cells.width is not None:
            n = int(rate * (cells.width - setting.tokenizer.preset.n_around))
            # genes that were not measured are perceived as such, and may be more than their share
            longest = int(n_seen.max()) if cells.n_cells else 0
            widths = max(cells.width - n, longest), n
        rows = Rows(row_ends(n_seen), "pcpt", widths[0]), Rows(row_ends(n_made), "gen", widths[1])
        (pcpt_ids, pcpt_values), (gen_ids, gen_values) = _split(cells, made, rows)
        pad = setting.tokenizer.preset.value.pad
        columns: dict[str, Column | Array] = {
            "pcpt_token_ids": Column(pcpt_ids, setting.pad_id, rows[0]),
            "pcpt_values": Column(pcpt_values, pad, rows[0]),
            "gen_token_ids": Column(gen_ids, setting.pad_id, rows[1]),
            "gen_targets": Column(gen_values, pad, rows[1]),
        }
        if setting.output == "padded":
            for own in rows:
                columns[f"{own.name}_mask"] = Column(xp.full(int(own.indptr[-1]), True, np.bool_), 0, own)
        return columns


def _split(cells: Cells, made: Array, rows: tuple[Rows, Rows]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Ids and values of the tokens that are not `made`, and of those that are."""
    assert cells.values is not None
    if on_device(made) or not _jit.available():
        seen = ~made
        return (cells.token_ids[seen], cells.values[seen]), (cells.token_ids[made], cells.values[made])
    from scdata.batch.objectives.hiding_jit import split_jit

    n_seen, n_made = int(rows[0].indptr[-1]), int(rows[1].indptr[-1])
    # one place more: the kernel writes first and then sees whether it should have
    out = [np.empty(n + 1, a.dtype) for n in (n_seen, n_made) for a in (cells.token_ids, cells.values)]
    split_jit(cells.token_ids, cells.values, made, *out)
    return (out[0][:-1], out[1][:-1]), (out[2][:-1], out[3][:-1])

"""Next gene: read the genes of a cell one after the other, and ask for the next one and its count."""

from dataclasses import dataclass

import numpy as np

from scdata import _jit
from scdata._backend import backend, on_device, row_ends, row_of_entry
from scdata._blocks import I64, Array
from scdata.batch.objectives.base import IGNORED, Cells, Column, Objective, Rows, Setting
from scdata.tokens.tables import one_of

_LIKE = ("transcriptformer",)
_START_VALUE = 1  # the count beside [START] in TranscriptFormer


@dataclass(frozen=True, kw_only=True)
class NextGene(Objective):
    """Each position is asked for the next gene, and for its value.

    Method: TranscriptFormer (Pearce et al., 2025); code czi-ai/transcriptformer, PyPI 0.6.1, ``model/model.py``.

    The order of the genes is that of the tokens: random, descending, or as stored, by the preset's ``[genes] order``; ranks
    descend by themselves.

    Parameters
    ----------
    start, end
        Special tokens that stand before and after a cell. One that the preset puts there already (``<cls>`` and ``<eos>`` of
        geneformer-v2) is not added.
    like
        ``"transcriptformer"``: as in the original, a cell ends in `end` only if it fills the context, in place of its last
        gene; shorter ones never do. None: every cell does, unless it fills the context: then it was cut, and does not end
        there.

    Notes
    -----
    Position i reads what comes before token i. B cells, L positions of the longest, T of all; no row has more positions than
    the context, or than `pad_to`, has tokens:

    =====================  ==========================================================================
    ``input_token_ids``    dtype of ``token_ids`` (B, L) or (T,): `start`, then the tokens but the last
    ``input_values``       dtype of ``values``: 1 beside `start` (as in TranscriptFormer), then those of the tokens
    ``input_mask``         bool (B, L), padded only: True at positions
    ``target_token_ids``   int64: the tokens, then `end`; −100 at padding and other special tokens
    ``target_values``      dtype of ``values``: those of the targets; the preset's pad value at what is no gene
    ``input_cu_seqlens``   int32 (B+1,), packed only; ``input_max_seqlen`` int
    =====================  ==========================================================================

    Ranked tokens have no values, and then there are none here.

    Examples
    --------
    >>> NextGene(start="<cls>", end="<eos>")
    NextGene(start='<cls>', end='<eos>', like=None)
    """

    start: str = "[START]"
    end: str = "[END]"
    like: str | None = None

    def __post_init__(self) -> None:
        if self.like is not None:
            one_of("like", self.like, _LIKE)

    def check(self, setting: Setting) -> None:
        setting.require_sequences("NextGene", "padded", "packed")
        for token in (self.start, self.end):
            setting.special_id(token, "NextGene")

    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        genes, pad = setting.tokenizer.preset.genes, setting.tokenizer.preset.value.pad
        ends = setting.special_id(self.start, "NextGene"), setting.special_id(self.end, "NextGene")
        before = 0 if genes.prepend[:1] == (self.start,) else 1
        after = 0 if genes.append[-1:] == (self.end,) else 1
        xp = backend(cells.indptr)
        n_tokens = xp.diff(cells.indptr)
        last = None  # where a cell that fills the context ends all the same
        n = n_tokens + (before + after - 1)
        if self.like is not None:
            n = n_tokens + (before - 1)
            last = setting.limit
        if setting.limit is not None:
            n = xp.minimum(n, setting.limit)
        n = xp.maximum(n, 0)
        rows = Rows(row_ends(n), "input")
        out = _shifted(cells, rows.indptr, before, ends, last or 0, pad)
        names = ("input_token_ids", "target_token_ids", "input_values", "target_values")
        pads = (setting.pad_id, IGNORED, pad, pad)
        columns: dict[str, Column | Array] = {
            name: Column(array, behind, rows) for name, array, behind in zip(names, out, pads, strict=False)
        }
        if setting.output == "padded":
            columns["input_mask"] = Column(xp.full(len(out[0]), True, np.bool_), 0, rows)
        return columns


def _shifted(cells: Cells, rows: I64, before: int, ends: tuple[int, int], last: int, pad: float) -> tuple[Array, ...]:
    """Input ids and target ids of all positions, and where there are values, those of both.

    Rows begin and end at `rows`. `before`: 1 if `start` is put before the tokens; `ends`: ids of `start` and `end`; `last`: the
    number of positions of a row whose last target is `end` in any case, 0: none.
    """
    n, ids, values = int(rows[-1]), cells.token_ids, cells.values
    xp = backend(ids)
    if not on_device(ids) and _jit.available():
        from scdata.batch.objectives.next_gene_jit import next_jit

        out = [np.empty(n, ids.dtype), np.empty(n, np.int64)]
        if values is not None:
            out += [np.empty(n, values.dtype), np.empty(n, values.dtype)]
        own = values if values is not None else np.empty(0, np.int32)
        into = out if values is not None else [*out, own, own]
        next_jit(cells.indptr, ids, own, cells.eligible, rows, before, ends, _START_VALUE, last, pad, *into)
        return tuple(out)
    start, end = ends
    eligible = cells.eligible
    if len(ids) == 0:  # something to look at where there is nothing to see
        ids, eligible = xp.zeros(1, ids.dtype), xp.zeros(1, np.bool_)
        values = None if values is None else xp.zeros(1, values.dtype)
    row = row_of_entry(rows)
    at = xp.arange(n) - rows[row]  # position in the row
    first, n_tokens = cells.indptr[row], cells.indptr[1:][row] - cells.indptr[row]
    read, asked = at - before, at - before + 1  # tokens of the cell
    begins = read < 0
    finishes = (asked >= n_tokens) | ((xp.diff(rows)[row] == last) & (at == last - 1))
    # places that are not looked at must be there all the same
    read = xp.minimum(first + xp.maximum(read, 0), len(ids) - 1)
    asked = xp.maximum(first + xp.minimum(asked, n_tokens - 1), 0)
    gene = ~finishes & eligible[asked]
    targets = xp.where(gene | (ids[asked] == end), ids[asked].astype(np.int64), np.int64(IGNORED))
    found = [
        xp.where(begins, ids.dtype.type(start), ids[read]),
        xp.where(finishes, np.int64(end), targets),
    ]
    if values is not None:
        kind = values.dtype.type
        found += [
            xp.where(begins, kind(_START_VALUE), values[read]),
            xp.where(gene, values[asked], kind(pad)),
        ]
    return tuple(found)

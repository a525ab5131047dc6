"""Masked genes: hide the ids of some genes, and ask which they are."""

from dataclasses import dataclass

import numpy as np

from scdata import _jit
from scdata._backend import backend, beside, on_device
from scdata._blocks import I32, Array
from scdata._errors import TokenizerError
from scdata._splitmix import splitmix64
from scdata.batch.objectives.base import IGNORED, Cells, Column, Objective, Setting, share
from scdata.batch.objectives.hiding import below, hidden
from scdata.tokens.tables import one_of

_LIKE = ("geneformer",)


@dataclass(frozen=True, kw_only=True)
class MaskedGenes(Objective):
    """Ids of some genes are hidden and asked for, as BERT does with words.

    Method: Devlin et al., "BERT", NAACL 2019; Theodoris et al., "Transfer learning enables predictions in network biology",
    Nature 2023 (Geneformer, whose code uses the masked-language collator of transformers).

    Parameters
    ----------
    rate
        Chance of each gene to be hidden.
    replace, random
        Of the hidden ones, the share that becomes the mask token, and the share that becomes a random gene of the vocabulary;
        the rest stay as they are, and are asked for all the same.
    like
        ``"geneformer"``: as in the original, special tokens but padding are hidden too (V2's ``<cls>`` and ``<eos>``), and
        random ids come from the whole vocabulary, special tokens included. None: genes only.

    Notes
    -----
    In the shape of ``token_ids``: (B, L) padded, (T,) packed:

    =====================  ==========================================================================
    ``masked_token_ids``   dtype of ``token_ids``: what the model reads
    ``masked``             bool: the genes that are asked for
    ``target_token_ids``   int64: ``token_ids`` where ``masked``, −100 elsewhere (which cross entropy ignores)
    =====================  ==========================================================================

    The vocabulary needs a mask token (``[vocab] mask`` of the preset).

    Examples
    --------
    >>> MaskedGenes(rate=0.3)
    MaskedGenes(rate=0.3, replace=0.8, random=0.1, like=None)
    """

    rate: float = 0.15
    replace: float = 0.8
    random: float = 0.1
    like: str | None = None

    def __post_init__(self) -> None:
        share("rate", self.rate)
        share("replace", self.replace, ends=True)
        share("random", self.random, ends=True)
        if self.replace + self.random > 1 + 1e-9:
            raise ValueError(
                f"replace + random = {self.replace + self.random}: at most 1, the whole of the hidden genes"
            )
        if self.like is not None:
            one_of("like", self.like, _LIKE)

    def check(self, setting: Setting) -> None:
        setting.require_sequences("MaskedGenes", "padded", "packed")
        token = setting.tokenizer.preset.vocab.mask
        if token is None:
            raise TokenizerError(
                f"MaskedGenes hides ids, and the vocabulary of {setting.tokenizer.name!r} has no mask token: use MaskedValues, "
                'or a preset of your own that extends it with [vocab] special = [..., "<mask>"] and mask = "<mask>"'
            )
        setting.special_id(token, "MaskedGenes")

    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        token = setting.tokenizer.preset.vocab.mask
        assert token is not None  # checked
        mask_id = setting.special_id(token, "MaskedGenes")
        among, choices = cells.eligible, setting.gene_ids
        if self.like == "geneformer":
            among = backend(among).full(len(among), True, np.bool_)  # padding comes later
            choices = np.arange(len(setting.special), dtype=np.int32)
        seen, chosen, target = self._hide(cells, among, mask_id, choices)
        return {
            "masked_token_ids": Column(seen, setting.pad_id),
            "masked": Column(chosen, 0),
            "target_token_ids": Column(target, IGNORED),
        }

    def _hide(self, cells: Cells, among: Array, mask_id: int, choices: I32) -> tuple[Array, Array, Array]:
        ids, xp = cells.token_ids, backend(cells.token_ids)
        mask_below, random_below = _below(self.replace), _below(self.replace + self.random)
        chosen = hidden(cells, self.rate, among)
        if not on_device(ids) and _jit.available():
            from scdata.batch.objectives.hiding_jit import bert_jit

            seen, target = np.empty_like(ids), np.empty(len(ids), np.int64)
            keys, limits = cells.draws.cell_keys("replace"), np.array([mask_below, random_below])
            bert_jit(cells.indptr, keys, ids, chosen, limits, mask_id, choices, seen, target)
            return seen, chosen, target
        key = cells.draws.keys("replace", cells.indptr, ids)
        index = (splitmix64(key) >> np.uint64(32)) * np.uint64(len(choices)) >> np.uint64(32)
        other = xp.where(key < random_below, beside(ids, choices)[index.astype(np.int64)].astype(ids.dtype), ids)
        other = xp.where(key < mask_below, ids.dtype.type(mask_id), other)
        return xp.where(chosen, other, ids), chosen, xp.where(chosen, ids.astype(np.int64), np.int64(IGNORED))


def _below(rate: float) -> np.uint64:
    """`below`, and for the whole the largest number there is."""
    return below(rate) if rate < 1 else np.uint64(0xFFFFFFFFFFFFFFFF)

"""What a model is asked: a batch of the loader with some values hidden, as floats.

Which values are hidden says the loader's objective, `scdata.objectives.MaskedValues`: a function of (seed, epoch, cell, token),
so training resumes exactly. Shapes: B cells, L tokens of the longest.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from scdata.objectives import MaskedValues

MASK_VALUE = -1


class Hidden(NamedTuple):
    """A batch with some values hidden.

    ``token_ids`` int32 (B, L); ``values`` float32 (B, L), −1 where hidden; ``truth`` float32 (B, L), nothing hidden;
    ``hidden`` and ``visible`` bool (B, L), genes only: special tokens and padding are neither; ``attention_mask`` bool (B, L).
    """

    token_ids: Tensor
    values: Tensor
    truth: Tensor
    hidden: Tensor
    visible: Tensor
    attention_mask: Tensor

    def to(self, device: torch.device) -> "Hidden":
        return Hidden(*(part.to(device) for part in self))


def hiding(fraction: float) -> MaskedValues:
    """The objective for `scdata.ShardDataset`: each gene's value is hidden with probability `fraction`."""
    return MaskedValues(rate=fraction, mask_value=MASK_VALUE)


def asked(batch: dict[str, Any], is_gene: Tensor) -> Hidden:
    """What a padded batch of a loader with this objective asks; `is_gene` bool (V,): which token ids are genes."""
    token_ids, hidden, there = batch["token_ids"], batch["masked"], batch["attention_mask"]
    visible = there & is_gene[token_ids] & ~hidden
    return Hidden(token_ids, batch["masked_values"].float(), batch["values"].float(), hidden, visible, there)

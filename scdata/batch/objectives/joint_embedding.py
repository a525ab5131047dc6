"""Joint embedding prediction: two views of a cell, one with values hidden."""

from dataclasses import dataclass

from scdata._blocks import Array
from scdata.batch.objectives.base import Cells, Column, Objective, Setting, share
from scdata.batch.objectives.hiding import hidden
from scdata.batch.objectives.masked_values import masked_views


@dataclass(frozen=True, kw_only=True)
class JointEmbedding(Objective):
    """A teacher reads the whole cell, a student the same genes with some values hidden, and predicts what the teacher made.

    Method: Cell-JEPA, arXiv 2602.02093. Rate and mask are second-hand, from a reimplementation (thereecer13/VirtualCellJEPA).

    Parameters
    ----------
    rate
        Chance of each gene's value to be hidden from the student.
    mask_value
        What stands there instead; None: ``[value] mask`` of the preset.

    Notes
    -----
    Both views have the batch's ``token_ids``, in the same order, from one draw. In the shape of ``values``: (B, L) padded, (T,)
    packed, (B, G) dense:

    ===================  ==============================================================================
    ``values``           what the teacher reads (always in a batch)
    ``masked_values``    dtype of ``values``: what the student reads
    ``masked``           bool: where they differ; ``values`` are the targets of a loss on them
    ===================  ==============================================================================

    `masked_attention` builds the student's attention mask. A preset with a table ``[mask]`` (cell-jepa) has this objective if a
    dataset is given no other.

    Examples
    --------
    >>> JointEmbedding(rate=0.3)
    JointEmbedding(rate=0.3, mask_value=None)
    """

    rate: float = 0.15
    mask_value: float | None = None

    def __post_init__(self) -> None:
        share("rate", self.rate)

    def check(self, setting: Setting) -> None:
        setting.require_values("JointEmbedding")
        setting.mask_value(self.mask_value, "JointEmbedding")

    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        chosen = hidden(cells, self.rate)
        return masked_views(cells, chosen, chosen, setting.mask_value(self.mask_value, "JointEmbedding"), setting)

"""Views of a dense batch that some models' encoders take."""

from typing import Any

import torch


def encoder_view(
    values: torch.Tensor,
    depths: torch.Tensor | None = None,
    hidden: torch.Tensor | None = None,
    *,
    pad_value: float = 0.0,
) -> dict[str, Any]:
    """What scFoundation's encoder sees of the decoder's view: expressed genes that are not hidden, then the depths.

    Method: Hao et al., "Large-scale foundation model on single-cell transcriptomics", Nature Methods 2024; code
    biomap-research/scFoundation, ``model/load.py`` (``gatherData``, ``getEncoerDecoderData``).

    Parameters
    ----------
    values
        float (B, G): ``batch["values"]`` of a dense batch, on any device.
    depths
        float (B, n): ``batch["depths"]``, T and S; None: none.
    hidden
        bool (B, G): genes that the objective hides; None: none. Depths are never hidden.
    pad_value
        Value behind the end of a cell.

    Returns
    -------
    dict
        ``positions`` int64 (B, L): columns of `values`, ascending, then G for T, G + 1 for S, and G + n behind the end of a
        cell; ``values`` (B, L); ``attention_mask`` bool (B, L). L is the longest cell of the batch. Values that are not
        above 0 are left out, as in the original, which a depth of log10(1) = 0 is too.
    """
    n_genes = values.shape[1]
    seen = values > 0
    if hidden is not None:
        seen &= ~hidden
    whole = values
    if depths is not None:
        whole = torch.cat([values, depths.to(values.dtype)], dim=1)
        seen = torch.cat([seen, depths > 0], dim=1)
    n_seen = seen.sum(dim=1)
    longest = int(n_seen.max()) if len(values) else 0
    # a stable sort of "not seen" puts what is seen in front, in its order
    order = torch.sort((~seen).to(torch.uint8), dim=1, stable=True).indices[:, :longest]
    mask = torch.arange(longest, device=values.device) < n_seen[:, None]
    end = n_genes + (0 if depths is None else depths.shape[1])
    return {
        "positions": torch.where(mask, order, end),
        "values": torch.where(mask, whole.gather(1, order), pad_value),
        "attention_mask": mask,
    }

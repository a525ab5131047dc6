"""Attention masks that go with objectives, made of a few bits a token where the model runs."""

from typing import TYPE_CHECKING, Any

from scdata._optional import need

if TYPE_CHECKING:
    import torch


def masked_attention(attention_mask: "torch.Tensor", masked: "torch.Tensor") -> "torch.Tensor":
    """Every token attends to the tokens that are not masked, and to itself.

    So what is asked for one masked gene cannot lean on another one (scGPT; Cell-JEPA's student).

    Parameters
    ----------
    attention_mask
        bool (B, L): True at tokens, False at padding.
    masked
        bool (B, L): tokens whose values are hidden.

    Returns
    -------
    bool (B, L, L)
        True where the query, second axis, attends to the key, third axis; what ``scaled_dot_product_attention`` takes, after
        ``[:, None]`` for the heads. Padding attends to what is not masked and is never attended to.

    Examples
    --------
    >>> import torch
    >>> masked_attention(torch.tensor([[True, True, True, False]]), torch.tensor([[False, True, True, False]])).int()
    tensor([[[1, 0, 0, 0],
             [1, 1, 0, 0],
             [1, 0, 1, 0],
             [1, 0, 0, 0]]], dtype=torch.int32)
    """
    torch: Any = need("torch", "build attention masks")
    itself = torch.eye(attention_mask.shape[1], dtype=torch.bool, device=attention_mask.device)
    seen: torch.Tensor = (attention_mask & ~masked)[:, None, :] | (itself & attention_mask[:, None, :])
    return seen


def generation_attention(pcpt_mask: "torch.Tensor", gen_mask: "torch.Tensor") -> "torch.Tensor":
    """`masked_attention` of perceived tokens and, behind them, tokens to generate.

    Parameters
    ----------
    pcpt_mask, gen_mask
        bool (B, P) and (B, Q), as `PerceptionGeneration` gives them.

    Returns
    -------
    bool (B, P + Q, P + Q)
        Perceived tokens attend to perceived ones; a generated one to these and to itself.
    """
    torch: Any = need("torch", "build attention masks")
    there = torch.cat([pcpt_mask, gen_mask], dim=1)
    made = torch.zeros_like(there)
    made[:, pcpt_mask.shape[1] :] = True
    return masked_attention(there, made)

"""What a block holds: decoded cells, and the names of its columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xxhash

from scdata._blocks import I32, I64, Array

# An obs column NAME is stored in blocks as obs.NAME.
OBS = "obs."

# Names of columns and batch keys of our own. An obs column that has one of them is called obs.NAME outside the blocks.
RESERVED = frozenset(
    [
        "attention_mask",
        "aux_token_ids",
        "cell_id",
        "cu_seqlens",
        "dataset",
        "depths",
        "diffusion_time",
        "diffusion_weight",
        "gen_cu_seqlens",
        "gen_mask",
        "gen_max_seqlen",
        "gen_targets",
        "gen_token_ids",
        "input_cu_seqlens",
        "input_mask",
        "input_max_seqlen",
        "input_token_ids",
        "input_values",
        "masked",
        "masked_token_ids",
        "masked_values",
        "max_seqlen",
        "measured",
        "n_pieces",
        "n_tokens",
        "obs_name",
        "piece",
        "set",
        "pcpt_cu_seqlens",
        "pcpt_mask",
        "pcpt_max_seqlen",
        "pcpt_token_ids",
        "pcpt_values",
        "state",
        "target_token_ids",
        "target_values",
        "targets",
        "token_ids",
        "total_counts",
        "values",
        "vocab_counts",
        "__key__",
    ]
)


def reserved_name(name: str) -> str:
    """What an obs column is called beside names of our own."""
    # a name that begins like that is prefixed too, or obs.dataset and dataset would meet
    return OBS + name if name in RESERVED or name.startswith(OBS) else name


@dataclass(frozen=True, kw_only=True)
class Cells:
    """C decoded cells, as a block holds them.

    Parameters
    ----------
    indptr
        int64 (C+1,).
    ids
        int32 (T,): gene codes, rising within a cell (counts), or token ids in their order (tokens).
    values
        Counts int32 (T,) ≥ 1; or the values of tokens (any integer type or float32), or None where tokens have none.
    cell_id, total_counts, vocab_counts
        int64 (C,).
    dataset
        int32 (C,).
    obs
        Columns by name, (C,) each: category codes int32, bool as uint8, numbers.
    """

    indptr: I64
    ids: I32
    values: Array | None
    cell_id: I64
    dataset: I32
    total_counts: I64
    vocab_counts: I64
    obs: Mapping[str, Array] = field(default_factory=dict)

    @property
    def n_cells(self) -> int:
        return len(self.cell_id)

    def content_hash(self) -> bytes:
        """xxh3-128 over the decoded content; equal however it was encoded or compressed."""
        digest = xxhash.xxh3_128()
        arrays: list[Array] = [self.cell_id, self.indptr, self.dataset, self.total_counts, self.vocab_counts, self.ids]
        named: list[tuple[str, Array]] = [("values", self.values)] if self.values is not None else []
        for name, array in [*(("", a) for a in arrays), *named, *sorted(self.obs.items())]:
            little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name}:{little.dtype.str}:{len(little)};".encode())
            digest.update(little.view(np.uint8).data)
        return digest.digest()

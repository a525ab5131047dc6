"""`Tokenizer.encode`: from a matrix of counts to tokens."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scdata._blocks import TokenBlock
from scdata._errors import MappingError, NotCountsError
from scdata.counts.csr import gather_genes
from scdata.counts.genes import HUMAN, RODENT_SYMBOLS, cut_version, looks_like
from scdata.normalize.library_size import library_size
from scdata.source.integers import as_counts
from scdata.tokens.sequence import Ragged

if TYPE_CHECKING:
    from scdata.tokens.tokenizer import Tokenizer


def encode(tokenizer: "Tokenizer", X: Any, feature_ids: Sequence[str], obs: Mapping[str, Any] | None) -> TokenBlock:
    """See `Tokenizer.encode`."""
    csr = X.tocsr()
    if csr.shape[1] != len(feature_ids):
        raise ValueError(f"X has {csr.shape[1]} columns but {len(feature_ids)} feature_ids were given")
    indptr = csr.indptr.astype(np.int64)
    data = as_counts(
        csr.data,
        where="X",
        row_of=lambda i: int(np.searchsorted(indptr, i, side="right")) - 1,
        remedy="encode() takes raw counts: pass the counts layer",
    )
    if tokenizer.vocab is None and not tokenizer.unfitted:
        tokenizer = tokenizer.with_genes([cut_version(name) for name in feature_ids], {})
    target = tokenizer.map_ids(feature_ids)
    if len(target) and (target < 0).all():
        raise MappingError(
            f"none of the {len(target)} feature_ids is in the vocabulary of {tokenizer.name!r}, which holds "
            f"{tokenizer.preset.vocab.ids} such as {tokenizer.genes().feature_ids[0]!r}; "
            f"yours look like {looks_like(feature_ids)}, such as {feature_ids[0]!r}"
        )
    if tokenizer.preset.vocab.species == HUMAN and looks_like(feature_ids) == RODENT_SYMBOLS:
        raise MappingError(
            f"feature_ids are {looks_like(feature_ids)}, such as {feature_ids[0]!r}, and the vocabulary of "
            f"{tokenizer.name!r} is of human genes: map orthologs first"
        )
    total_counts = library_size(indptr, data)
    nonzero = data > 0
    indices = csr.indices
    if not nonzero.all():
        kept = np.concatenate(([0], np.cumsum(nonzero)))
        indices, data, indptr = indices[nonzero], data[nonzero], kept[indptr]
    try:
        indptr, genes, counts = gather_genes(indptr, indices, data, target, len(tokenizer.genes().feature_ids))
    except OverflowError as error:
        raise NotCountsError(f"X: {error}") from error
    vocab_counts = library_size(indptr, counts)
    total = tokenizer.denominator(total_counts, vocab_counts, obs)
    indptr, genes, counts = tokenizer.choose(indptr, genes, counts)
    ragged = tokenizer.tokenize(indptr, genes, counts, total)
    if tokenizer.preset.stores == "tokens":
        ragged = without_empty(tokenizer.finish(ragged, None, depths=(total, total)), np.diff(indptr) == 0)
    return TokenBlock(
        indptr=ragged.indptr,
        token_ids=ragged.token_ids.astype(tokenizer.genes().token_dtype),
        values=ragged.values,
        total_counts=total_counts,
        vocab_counts=vocab_counts,
    )


def without_empty(ragged: Ragged, empty: Any) -> Ragged:
    """No tokens at all for cells that are `empty`, bool (C,): no gene is not a sequence of special tokens."""
    if not empty.any():
        return ragged
    lengths = np.diff(ragged.indptr)
    indptr = np.concatenate(([0], np.cumsum(np.where(empty, 0, lengths))))
    return ragged.take(np.repeat(~empty, lengths), indptr)

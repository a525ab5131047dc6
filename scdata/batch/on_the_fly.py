"""Which tokenizer a loader uses: the set's own, or another one made on the fly from counts."""

from dataclasses import replace

import numpy as np

from scdata._errors import TokenizerError
from scdata.batch.gene_map import GeneMap
from scdata.shard.block import COUNTS
from scdata.shard.set_statistics import read_statistics
from scdata.shard.shard_set import ShardSet
from scdata.tokens.loading import load_tokenizer
from scdata.tokens.tokenizer import Tokenizer


def tokenizer_for(shards: ShardSet, tokenizer: str | Tokenizer | None, log_normalize: float | None = None) -> Tokenizer:
    """The tokenizer that a loader uses.

    Parameters
    ----------
    shards
        The set.
    tokenizer
        None: the set's own. A name, or a `Tokenizer`: made on the fly from a set of counts; ``NAME+fit`` uses the set's
        own genes, and what ``scdata fit`` found where the preset needs it.
    log_normalize
        Give ln(1 + count / total · `log_normalize`) instead of counts; None: what the tokenizer gives.

    Raises
    ------
    TokenizerError
        If the set holds the tokens of another, or has to be fitted first, or there are no counts to be normalized.
    """
    found = _found(shards, tokenizer)
    return found if log_normalize is None else _log_normalized(found, log_normalize, shards)


def _log_normalized(tokenizer: Tokenizer, target_sum: float, shards: ShardSet) -> Tokenizer:
    value = tokenizer.preset.value
    if value.kind == "lognorm" and value.target_sum == target_sum:
        return tokenizer
    raw = value.kind == "counts" and value.clip is None and value.scale is None
    if not raw or shards.encoding != COUNTS:
        raise TokenizerError(
            f"log_normalize = {target_sum}: the values of {tokenizer.name!r} are no raw counts; take tokenizer='counts+fit', "
            "or leave it out"
        )
    lognorm = replace(value, kind="lognorm", target_sum=target_sum)
    return replace(tokenizer, preset=replace(tokenizer.preset, value=lognorm))


def _found(shards: ShardSet, tokenizer: str | Tokenizer | None) -> Tokenizer:
    own = shards.tokenizer
    if tokenizer is None or (isinstance(tokenizer, str) and tokenizer == own.name):
        return _fitted(shards, own)
    if shards.encoding != COUNTS:
        name = tokenizer if isinstance(tokenizer, str) else tokenizer.name
        raise TokenizerError(
            f"{shards.path} holds tokens of {own.name!r}, which cannot become those of {name!r}: build a set with "
            "--tokenizer counts, from which any tokenizer works on the fly"
        )
    if isinstance(tokenizer, Tokenizer):
        found = tokenizer
    elif tokenizer.endswith("+fit"):
        found = load_tokenizer(tokenizer.removesuffix("+fit"), "fit")
    else:
        found = load_tokenizer(tokenizer)
    if found.vocab is None:
        ids = shards.var["feature_id"].to_pylist()
        found = found.with_genes(ids, dict(zip(ids, shards.var["feature_name"].to_pylist(), strict=True)))
    return _fitted(shards, found)


def _fitted(shards: ShardSet, tokenizer: Tokenizer) -> Tokenizer:
    if not tokenizer.unfitted:
        return tokenizer
    statistics = read_statistics(shards)
    if statistics is None:
        raise TokenizerError(
            f"{tokenizer.name!r} needs {' and '.join(tokenizer.unfitted)} of the corpus, which nobody has worked out for "
            f"{shards.path}: run `scdata fit {shards.path}` once"
        )
    # statistics are over the set's genes in order of their ids
    order = np.argsort(np.array(shards.var["feature_id"].to_pylist(), object), kind="stable")
    codes = shards.var["code"].to_numpy()[order]
    return statistics.fit(tokenizer, GeneMap(shards, tokenizer).gene_of_code[codes])

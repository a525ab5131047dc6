"""What the sets of a mix must have in common: one vocabulary, columns of one meaning."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scdata._blocks import I32, Array
from scdata._errors import TokenizerError
from scdata.batch.options import Options
from scdata.batch.set_stream import SetStream, open_set
from scdata.shard.cells import OBS, reserved_name
from scdata.tokens.loading import load_tokenizer
from scdata.tokens.stored import tokenizer_to_json
from scdata.tokens.tokenizer import Tokenizer

_MAY_DIFFER = ("name", "symbols", "assets")


def common_tokenizer(
    paths: Sequence[str], options: Options, tokenizer: str | Tokenizer | None
) -> str | Tokenizer | None:
    """The tokenizer of a mix: ``NAME+fit`` is over the genes of all sets together."""
    if not isinstance(tokenizer, str) or not tokenizer.endswith("+fit"):
        return tokenizer
    symbols: dict[str, str] = {}
    for path in paths:
        var = open_set(path, options).var
        for feature_id, name in zip(var["feature_id"].to_pylist(), var["feature_name"].to_pylist(), strict=True):
            symbols.setdefault(feature_id, name)
    return load_tokenizer(tokenizer.removesuffix("+fit"), "fit").with_genes(list(symbols), symbols)


def check_common(streams: Sequence[SetStream]) -> None:
    """Refuse sets whose batches would not mean the same.

    Raises
    ------
    TokenizerError
        If vocabularies, presets or what was fitted differ; names the first difference.
    ValueError
        If a column is text in one set and numbers in another.
    """
    first = streams[0]
    mine = tokenizer_to_json(first.tokens.tokenizer)
    for other in streams[1:]:
        theirs = tokenizer_to_json(other.tokens.tokenizer)
        differ = [key for key in {**mine, **theirs} if key not in _MAY_DIFFER and mine.get(key) != theirs.get(key)]
        if differ:
            raise TokenizerError(
                f"{first.path} and {other.path} differ in {', '.join(differ)} of their tokens: a mix has one vocabulary; give "
                'tokenizer= a published one, or "counts+fit", "scgpt+fit" and the like: the genes of all sets together'
            )
        if first.tokens.stored != other.tokens.stored and first.tokens.tokenizer.preset.value.kind == "rank":
            raise TokenizerError(f"{first.path} or {other.path} holds ranks, the other counts: build both alike")
        if (first.tokens.aux_column is None) != (other.tokens.aux_column is None):
            raise TokenizerError(f"{first.path} or {other.path} lacks the obs column of [aux] of the preset")
        for key in first.stored_names:
            if (key in first.categories) != (key in other.categories):
                raise ValueError(
                    f"the obs column {key!r} is text in one of {first.path} and {other.path}, and no text in the other"
                )


def common_columns(streams: Sequence[SetStream]) -> I32:
    """int32 (G,), ascending: token ids of the columns of a dense batch, the genes of all sets."""
    return np.unique(np.concatenate([stream.tokens.map.dense_tokens for stream in streams]))


def common_categories(streams: Sequence[SetStream]) -> dict[str, list[str]]:
    """Strings behind the codes of a mix: those of all sets, sorted; datasets of all sets, one after the other."""
    names = {key for stream in streams for key in stream.categories}
    found = {
        key: sorted({text for stream in streams for text in stream.categories.get(key, ())}) for key in sorted(names)
    }
    return {**found, "dataset": [name for stream in streams for name in stream.categories["dataset"]]}


def recoded(streams: Sequence[SetStream], categories: dict[str, list[str]]) -> list[dict[str, Array]]:
    """For each set, and each key with codes, the mix's code of each of its own; the last entry is for −1 (null)."""
    tables: list[dict[str, Array]] = []
    before = 0
    for stream in streams:
        n = len(stream.categories["dataset"])
        own: dict[str, Array] = {"dataset": np.arange(before, before + n, dtype=np.int32)}
        before += n
        for key in stream.stored_names.keys() & stream.categories.keys() - {"dataset"}:
            own[key] = np.append(_places(stream.categories[key], categories[key]), np.int32(-1))
        aux, column = stream.tokens.tokenizer.aux, stream.tokens.aux_column
        if column is not None and aux is None:
            # strings of all sets count from 1
            own["aux_token_ids"] = np.append(
                np.int32(0), 1 + _places(stream.shards.categories[column], categories[reserved_name(column)])
            )
        tables.append(own)
    return tables


def number_types(streams: Sequence[SetStream]) -> dict[str, np.dtype[Any]]:
    """The type of each column of numbers, whichever sets a batch has cells of."""
    found: dict[str, list[np.dtype[Any]]] = {}
    for stream in streams:
        types = {column["name"]: np.dtype(column["dtype"]) for column in stream.shards.manifest["obs"]}
        for key, stored in stream.stored_names.items():
            if stored.removeprefix(OBS) in types and key not in stream.categories:
                found.setdefault(key, []).append(types[stored.removeprefix(OBS)])
    return {key: np.result_type(*types) for key, types in found.items()}


def _places(own: Sequence[str], known: Sequence[str]) -> I32:
    at = {text: i for i, text in enumerate(known)}
    return np.array([at[text] for text in own], np.int32)

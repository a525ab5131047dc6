"""A tokenizer as ``vocab.json`` holds it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from scdata._config import to_table
from scdata._errors import TokenizerError
from scdata.tokens.fitted import Fitted
from scdata.tokens.preset import preset_from_table
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab


def tokenizer_to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The table that `tokenizer_from_json` reads back."""
    vocab = tokenizer.genes()
    table: dict[str, Any] = {
        "name": tokenizer.name,
        "preset": to_table(tokenizer.preset),
        "specials": dict(vocab.specials),
        "genes": vocab.token_ids,
        "symbols": {i: s for i, s in zip(vocab.feature_ids, vocab.symbols, strict=True) if i != s},
        "assets": dict(tokenizer.assets),
        **tokenizer.fitted.to_json(),
    }
    if tokenizer.aux is not None:
        table["aux"] = dict(tokenizer.aux)
    return table


def tokenizer_from_json(table: Mapping[str, Any], where: str) -> Tokenizer:
    """Read what `tokenizer_to_json` wrote; `where` names the file in messages.

    Raises
    ------
    TokenizerError
        If it is not that.
    """
    try:
        preset = preset_from_table(table["preset"], where)
        genes, specials = dict(table["genes"]), dict(table["specials"])
        if not genes:
            raise TokenizerError(f"{where}: a vocabulary without genes")
        vocab = Vocab.of_genes({**specials, **genes}, list(specials))
        symbols = tuple(str(table["symbols"].get(name, name)) for name in vocab.feature_ids)
        vocab = dataclasses.replace(vocab, symbols=symbols)
        fitted = Fitted.from_json(table, len(vocab.feature_ids), where)
        aux = dict(table["aux"]) if "aux" in table else None
        return Tokenizer(str(table["name"]), preset, vocab, fitted, None, aux, dict(table["assets"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise TokenizerError(f"{where}: not a vocabulary of scdata: {error!r}") from error

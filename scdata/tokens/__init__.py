"""Tokens: presets, vocabularies, and the way from counts to token ids and values."""

from scdata.tokens.loading import load_tokenizer
from scdata.tokens.preset import Preset, load_preset, preset_names, preset_path
from scdata.tokens.sequence import Draws, Ragged, cut
from scdata.tokens.tokenizer import Tokenizer
from scdata.tokens.vocab import Vocab

__all__ = [
    "Draws",
    "Preset",
    "Ragged",
    "Tokenizer",
    "Vocab",
    "cut",
    "load_preset",
    "load_tokenizer",
    "preset_names",
    "preset_path",
]

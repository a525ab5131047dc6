"""What all objectives share: what they are asked with, what they see of a batch, and what they give back."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from scdata import _jit
from scdata._backend import beside, on_device
from scdata._blocks import I32, I64, Array
from scdata._cached import cached_property
from scdata._errors import TokenizerError
from scdata.tokens.sequence import Draws, Ragged
from scdata.tokens.tokenizer import Tokenizer

IGNORED = -100  # a target that torch's cross entropy leaves out


@dataclass(frozen=True)
class Setting:
    """What an objective is used with; known when a dataset is made.

    Parameters
    ----------
    tokenizer
        Makes the tokens.
    output
        ``"padded"``, ``"packed"`` or ``"dense"``.
    limit
        Most tokens of a cell, or positions of a row; None: no limit.
    pad_id
        Token id of padding.
    """

    tokenizer: Tokenizer
    output: str
    limit: int | None
    pad_id: int

    @cached_property
    def special(self) -> Array:
        """bool: which token ids are special tokens."""
        vocab = self.tokenizer.genes()
        table = np.zeros(vocab.n_tokens, bool)
        table[list(vocab.specials.values())] = True
        return table

    @cached_property
    def gene_ids(self) -> I32:
        """int32 (G,): token ids of the genes that a cell may have."""
        return self.tokenizer.chosen_tokens

    def special_id(self, token: str, what: str) -> int:
        """Id of a special token.

        Raises
        ------
        TokenizerError
            If the vocabulary has none of this name; `what` says who wants it.
        """
        specials = self.tokenizer.genes().specials
        if token not in specials:
            raise TokenizerError(
                f"{what} needs the special token {token!r}, and the vocabulary of {self.tokenizer.name!r} has "
                f"{', '.join(map(repr, specials)) or 'none'}: name another, or add it in a preset of your own"
            )
        return specials[token]

    def require_values(self, what: str) -> None:
        """Raise `TokenizerError` if tokens have no values."""
        if self.tokenizer.preset.value.kind == "rank":
            raise TokenizerError(
                f"{what} needs values, and {self.tokenizer.name!r} has none, only an order of genes: use MaskedGenes or "
                "NextGene, or another tokenizer"
            )

    def require_sequences(self, what: str, *outputs: str) -> None:
        """Raise `ValueError` unless the output is one of `outputs`."""
        if self.output not in outputs:
            known = " or ".join(f"output={name!r}" for name in outputs)
            raise ValueError(f"{what} is about sequences of tokens, not output={self.output!r}: use {known}")

    def mask_value(self, given: float | None, what: str) -> float:
        """What stands in place of a hidden value: as given, else the preset's.

        Raises
        ------
        TokenizerError
            If neither says.
        ValueError
            If it does not fit values, or is no whole number where they are.
        """
        value = self.tokenizer.preset.value.mask if given is None else given
        if value is None:
            raise TokenizerError(
                f"{what} hides values, and the preset of {self.tokenizer.name!r} does not say what stands in their place "
                "([value] mask): give mask_value"
            )
        if not isinstance(value, Real) or not -(1 << 31) <= value < 1 << 31:
            raise ValueError(f"mask_value = {value!r}: a number from -2147483648 to 2147483647")
        if not self.tokenizer.preset.float_values and value != int(value):
            raise ValueError(f"mask_value = {value}: values of {self.tokenizer.name!r} are whole numbers")
        return value


@dataclass(frozen=True)
class Cells:
    """The B cells of a batch, in any output; all arrays on one machine.

    Parameters
    ----------
    indptr
        int64 (B+1,); cells of a dense batch have G tokens each.
    token_ids
        Integer (T,), distinct within a cell.
    values
        (T,), or None where tokens have none.
    eligible
        bool (T,): genes that were measured. All else, special tokens among them, is neither hidden nor asked for.
    draws
        Where the random numbers of the cells come from.
    number
        Number of the global batch in its epoch, for what is drawn once a batch.
    width
        L of a padded batch; None for others.
    """

    indptr: I64
    token_ids: Array
    values: Array | None
    eligible: Array
    draws: Draws
    number: int
    width: int | None = None

    @property
    def n_cells(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True)
class Rows:
    """Rows of another length than the cells' tokens.

    Parameters
    ----------
    indptr
        int64 (B+1,).
    name
        What they are called: a packed batch gets ``NAME_cu_seqlens``.
    width
        Width of a padded batch; None: that of the longest row, as `pad_to` says.
    """

    indptr: I64
    name: str
    width: int | None = None


@dataclass(frozen=True)
class Column:
    """A number for every token.

    Parameters
    ----------
    array
        (T,).
    pad
        What stands behind the end of a row.
    rows
        Where rows begin and end; None: as the cells' tokens.
    """

    array: Array
    pad: float
    rows: Rows | None = None


class Objective(ABC):
    """A few numbers that say what a model is asked; frozen, and the same in every process."""

    @abstractmethod
    def check(self, setting: Setting) -> None:
        """Say when a dataset is made what could not work: `TokenizerError` or `ValueError`."""

    @abstractmethod
    def apply(self, cells: Cells, setting: Setting) -> dict[str, Column | Array]:
        """Keys of a batch: a number for every token (`Column`), or for every cell (an array).

        A pure function of (seed, epoch, the cell, the number of the batch): neither the batch that a cell is in, nor its rank,
        worker, or padding, changes what is drawn for it.
        """


def eligible_tokens(ragged: Ragged, setting: Setting) -> Array:
    """bool (T,): tokens that are genes, and were measured."""
    if not on_device(ragged.token_ids) and _jit.available():
        from scdata.batch.objectives.hiding_jit import genes_jit

        found = np.empty(len(ragged.token_ids), np.bool_)
        genes_jit(ragged.token_ids, setting.special, found)
    else:
        found = ~beside(ragged.token_ids, setting.special)[ragged.token_ids]
    missing = setting.tokenizer.preset.value.missing
    if missing is not None and ragged.values is not None:
        found &= ragged.values != missing
    return found


def shares(name: str, value: Any) -> None:
    """Refuse what is no share, nor a tuple of some."""
    if isinstance(value, tuple) and not value:
        raise ValueError(f"{name} = (): at least one")
    for one in value if isinstance(value, tuple) else (value,):
        share(name, one)


def share(name: str, value: Any, *, ends: bool = False) -> None:
    """Refuse what is no share: between 0 and 1, with `ends` also these."""
    number = float(value) if isinstance(value, Real) else math.nan
    inside = 0 <= number <= 1 if ends else 0 < number < 1
    if not inside:
        raise ValueError(f"{name} = {value!r}: {'from 0 to 1' if ends else 'between 0 and 1'}")

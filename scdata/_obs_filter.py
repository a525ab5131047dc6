"""Filters on obs, in the grammar of TileDB-SOMA's ``value_filter``: a small subset of Python expressions.

``cell_type == 'B cell' and n_genes >= 200``, ``tissue in ['lung', 'blood'] or not is_control``. Parsed, never evaluated.
"""

import ast
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_COMPARE = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_SWAPPED: dict[type, type] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
_VALUE = (str, int, float)
_GRAMMAR = "column == value, != < <= > >=, column in [values], joined by and, or, not"


class ObsFilter:
    """A parsed filter.

    Parameters
    ----------
    text
        The expression.
    option
        What it was given as, for messages.

    Raises
    ------
    ValueError
        If it is not of the grammar.
    """

    def __init__(self, text: str, option: str = "--obs-filter") -> None:
        self.text = text
        self._said = f"{option} {text[:200]!r}"
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            why = str(error) or "nested too deeply"
            raise ValueError(f"{self._said}: {why}; expected {_GRAMMAR}") from error
        self.columns = sorted({node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)})
        try:
            self._check(self._tree)
        except RecursionError as error:
            raise ValueError(f"{self._said}: nested too deeply; expected {_GRAMMAR}") from error

    def mask(self, obs: pa.Table) -> npt.NDArray[np.bool_]:
        """bool (C,): the cells that pass; a null passes nothing.

        Parameters
        ----------
        obs
            At least `columns`, one row a cell.

        Raises
        ------
        ValueError
            If a column is compared with a value of another type.
        """
        if len(obs) == 0:
            return np.zeros(0, bool)
        try:
            result = self._run(self._tree, obs)
        except (pa.ArrowException, TypeError) as error:
            kinds = ", ".join(f"{name} holds {obs[name].type}" for name in self.columns)
            raise ValueError(f"{self._said}: {error}; {kinds}: compare strings with 'quoted' values") from error
        return np.asarray(pc.fill_null(result, False).to_numpy(), bool)

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self._check(part)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._check(node.operand)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            self._sides(node)
        elif not isinstance(node, ast.Name):
            raise ValueError(f"{self._said}: cannot read {ast.unparse(node)!r}; expected {_GRAMMAR}")

    def _sides(self, node: ast.Compare) -> tuple[str, Any, Any]:
        """Column, operator and value of a comparison, whichever side the column stands on."""
        left, operator, right = node.left, node.ops[0], node.comparators[0]
        kind: type = type(operator)
        if not isinstance(left, ast.Name) and isinstance(right, ast.Name) and kind in _COMPARE:
            left, right, kind = right, left, _SWAPPED.get(kind, kind)
        try:
            value = ast.literal_eval(right)
        except (ValueError, TypeError):
            value = None
        wants_list = kind in (ast.In, ast.NotIn)
        is_list = isinstance(value, list | tuple) and all(isinstance(item, _VALUE) for item in value)
        is_value = is_list if wants_list else isinstance(value, _VALUE)
        if not isinstance(left, ast.Name) or not is_value or not (wants_list or kind in _COMPARE):
            raise ValueError(f"{self._said}: cannot read {ast.unparse(node)!r}; expected {_GRAMMAR}")
        return left.id, kind, value

    def _run(self, node: ast.AST, obs: pa.Table) -> Any:
        if isinstance(node, ast.BoolOp):
            join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            result = self._run(node.values[0], obs)
            for part in node.values[1:]:
                result = join(result, self._run(part, obs))
            return result
        if isinstance(node, ast.UnaryOp):
            return pc.invert(self._run(node.operand, obs))
        if isinstance(node, ast.Compare):
            name, kind, value = self._sides(node)
            column = obs[name]
            if kind in (ast.In, ast.NotIn):
                found = _is_one_of(column, list(value))
                return pc.invert(found) if kind is ast.NotIn else found
            if isinstance(value, bool) and pa.types.is_integer(column.type):
                value = int(value)  # a set holds bools as uint8
            return _COMPARE[kind](column, pa.scalar(value))
        assert isinstance(node, ast.Name)  # _check admits nothing else
        return pc.cast(obs[node.id], pa.bool_())


def _is_one_of(column: Any, values: list[Any]) -> Any:
    """``column == a or column == b or …``: nulls stay null, numbers compare as numbers, whatever their type."""
    if pa.types.is_string(column.type) and all(isinstance(value, str) for value in values):
        found = pc.is_in(column, value_set=pa.array(values, pa.string()))
        return pc.if_else(pc.is_valid(column), found, pa.scalar(None, pa.bool_()))
    found = pc.if_else(pc.is_valid(column), False, pa.scalar(None, pa.bool_()))
    for value in values:
        found = pc.or_kleene(found, pc.equal(column, pa.scalar(value)))
    return found

"""Attributes that are worked out when they are first asked for, without a lock."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):
    """`functools.cached_property` as it is from Python 3.12 on.

    The one of 3.11 holds a lock, one for all objects of a class, while it works: a process that is forked meanwhile, such as a
    DataLoader's worker, would wait for it for ever, and threads would wait for each other. Two threads may work out a value
    twice here, so it must not matter which of them is kept.
    """

    def __init__(self, work_out: Callable[[Any], T]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> "cached_property[T]": ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> "cached_property[T] | T":
        if instance is None:
            return self
        value = self._work_out(instance)
        # found before this descriptor from now on; also where a frozen dataclass refuses to set an attribute
        instance.__dict__[self._name] = value
        return value

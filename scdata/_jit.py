"""Whether numba is at hand. Ragged loops are compiled where it is; every one has a NumPy twin of equal results."""

from functools import cache


@cache
def available() -> bool:
    """True if numba can be imported (asked by importing it, once, and only where a kernel is about to run)."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True

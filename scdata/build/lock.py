"""One build per output: an exclusive `flock` that dies with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scdata._errors import BuildLockedError


@contextmanager
def build_lock(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` for the time of the block.

    Raises
    ------
    BuildLockedError
        If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _held(path) from None
        # the holder before us may have finished and removed the file: then the lock is on a file that nobody sees
        try:
            same = os.fstat(file).st_ino == path.stat().st_ino
        except FileNotFoundError:
            same = False
        if not same:
            raise _held(path)
        yield
    finally:
        os.close(file)


def _held(path: Path) -> BuildLockedError:
    return BuildLockedError(
        f"another build writes to {path.parent.parent}: wait for it to end, or choose another output (-o)"
    )

"""One build per output: an exclusive `flock` that dies with its process; in an object store, a lease."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import BuildLockedError
from scdata._storage import is_local
from scdata.build.lease import lease

LOCK = "lock"


@contextmanager
def build_lock(folder: Path, note: Callable[[str], Any] = lambda text: None) -> Iterator[Callable[[], None]]:
    """Hold the lock of the build in `folder` for the time of the block.

    Parameters
    ----------
    note
        Told when it takes time to see whether another build is alive.

    Yields
    ------
    A function to call now and then: it raises `BuildError` if the lock was lost.

    Raises
    ------
    BuildLockedError
        If another process holds it.
    """
    if not is_local(folder):
        with lease(folder, note) as check:
            yield check
        return
    path = folder / LOCK
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
        yield lambda: None
    finally:
        os.close(file)


def _held(path: Path) -> BuildLockedError:
    return BuildLockedError(
        f"another build writes to {path.parent.parent}: wait for it to end, or choose another output (-o)"
    )

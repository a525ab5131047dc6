"""One build per output in an object store: a lease that its holder keeps rewriting.

The lock is an object ``lock-N``, made by a conditional put, so that of two builders one gets it. Its holder rewrites it
every few seconds. Who finds it there watches it by a clock of its own: if it changes, a build is alive; if it does not for
a minute, that build is dead, and the watcher makes ``lock-(N+1)``. No two machines compare their clocks.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import BuildError, BuildLockedError

LEASE = "lock-"
REWRITE_S, DEAD_S, _LOOK_S = 10.0, 60.0, 1.0


@contextmanager
def lease(folder: Path, note: Callable[[str], Any] = lambda text: None) -> Iterator[Callable[[], None]]:
    """Hold the lease in `folder`, in an object store, for the time of the block.

    Parameters
    ----------
    note
        Told when the lease of a build that may be dead is watched.

    Yields
    ------
    A function that raises `BuildError` when the lease was lost: another build took it, or it could not be rewritten.

    Raises
    ------
    BuildLockedError
        If another build holds it.
    """
    holder = _Holder(folder, _take(folder, note))
    try:
        yield holder.check
    finally:
        holder.release()


def _leases(folder: Path) -> dict[int, bytes]:
    """The leases in a folder by number, with what they hold; mostly one."""
    store: Any = folder
    found = {}
    for name in store.fs.find(store.path, maxdepth=1):
        number = name.rpartition("/")[2].removeprefix(LEASE)
        if number.isdigit():
            try:
                found[int(number)] = store.fs.cat_file(name)
            except FileNotFoundError:
                continue  # given up in between
    return found


def _path(folder: Path, number: int) -> str:
    store: Any = folder
    return f"{store.path}/{LEASE}{number:06d}"


def _take(folder: Path, note: Callable[[str], Any]) -> int:
    """Make the next lease once all others are dead; returns its number."""
    store: Any = folder
    dead = _watch(folder, note)
    number = max(dead, default=0) + 1
    path = _path(folder, number)
    try:
        store.fs.pipe_file(path, uuid.uuid4().hex.encode(), mode="create")
    except FileExistsError:
        raise _held(folder) from None
    # one that was given up and made anew while this one was made: both of such a pair see each other, and both withdraw
    others = {n: content for n, content in _leases(folder).items() if n != number}
    if any(dead.get(n) != content for n, content in others.items()):
        store.fs.rm_file(path)
        raise _held(folder)
    for n in others:
        store.fs.rm_file(_path(folder, n))
    return number


def _watch(folder: Path, note: Callable[[str], Any]) -> dict[int, bytes]:
    """Leases that do not change; raises at the first change."""
    first = _leases(folder)
    begin = time.monotonic()
    if first:
        note(f"{folder} is locked; watching for up to {DEAD_S:.0f} s whether the build that holds it is alive")
    while first and time.monotonic() - begin < DEAD_S:
        time.sleep(_LOOK_S)
        now = _leases(folder)
        if not now:
            return {}
        if now != first:
            raise _held(folder)
    return first


def _held(folder: Path) -> BuildLockedError:
    return BuildLockedError(
        f"another build writes to {folder.parent}: wait for it to end, or choose another output (-o)"
    )


class _Holder:
    """Rewrites a lease from a thread of its own."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder, self._number = folder, number
        self._lost: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._rewrite, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost is not None:
            raise BuildError(
                f"the lock on {self._folder.parent} was lost: {self._lost}; run the same command again to go on"
            )

    def release(self) -> None:
        self._stop.set()
        self._thread.join()
        store: Any = self._folder
        try:
            store.fs.rm_file(_path(self._folder, self._number))
        except OSError:
            return  # gone with the folder; or not to be reached, and dead in a minute

    def _rewrite(self) -> None:
        store: Any = self._folder
        written = time.monotonic()
        while not self._stop.wait(REWRITE_S):
            try:
                # a machine that slept for long finds its lease taken, or taken and given up
                if max(_leases(self._folder), default=0) != self._number:
                    self._lost = "another build took it"
                    return
                store.fs.pipe_file(_path(self._folder, self._number), uuid.uuid4().hex.encode())
                written = time.monotonic()
            except OSError as error:
                # a watcher will take it soon: stop before
                if time.monotonic() - written > DEAD_S - 2 * REWRITE_S:
                    self._lost = f"it could not be rewritten ({error})"
                    return

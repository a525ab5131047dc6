"""Runs tasks: one driver over dask.distributed, few tasks in flight.

One worker is a thread of this process; more are processes of their own, spawned, never forked (TileDB hangs after a fork).
Or the workers are those of a running Dask cluster, which must see the sources, the output and the scratch folder.
"""

import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import BuildError
from scdata._optional import need
from scdata._storage import is_local
from scdata.shard.files import sha256_of

_ANSWER_S, _WORKERS_S = 10, 60  # seconds to wait for a scheduler, and for its first worker
_STARTS = 3  # times that workers are started, if one dies before it is there
_AHEAD = 2  # tasks in flight for each worker: one runs, one waits


@contextmanager
def cluster(n_workers: int, scratch: Path) -> Iterator[Any]:
    """A dask client over `n_workers` local workers, closed at the end of the block; dask's own files go to `scratch`.

    Raises
    ------
    BuildError
        If workers die while they start, again and again.
    """
    distributed = need("distributed", "build shards")
    dask = need("dask", "build shards")
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        # tasks bound their own memory; dask's guesses about a process it shares with its caller are wrong
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": False,
        "distributed.scheduler.allowed-failures": 3,
        # a connection tells that a worker died; dask's other way compares clocks, and drops all workers where one jumps
        "distributed.scheduler.worker-ttl": None,
        "distributed.admin.log-format": "%(message)s",
        # distributed always listens for HTTP: let it serve nothing
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "logging.distributed": "critical",
    }
    with (
        dask.config.set(settings),
        _started(
            distributed.LocalCluster,
            n_workers=n_workers,
            threads_per_worker=1,
            processes=n_workers > 1,
            # dask serves its state over http in any case: on a free port, and to this machine only
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
            # an object store does not serve dask, which then takes the system's folder for temporary files
            local_directory=str(scratch) if is_local(scratch) else None,
            silence_logs="CRITICAL",
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


def _started(local_cluster: Any, **settings: Any) -> Any:
    for _ in range(_STARTS):
        try:
            return local_cluster(**settings)
        except RuntimeError as error:  # a worker that dies later is replaced, one that dies early is not
            failed = error
    raise BuildError(
        f"workers died while they started, {_STARTS} times ({failed}): out of memory? Use fewer --workers"
    ) from failed


@contextmanager
def running_cluster(address: str, see: Path, versions: Callable[[], dict[str, str]]) -> Iterator[tuple[Any, int]]:
    """A client of the scheduler at `address`, and the number of its workers' threads.

    Parameters
    ----------
    see
        A file that every worker must see, and see as this process does.
    versions
        Gives the versions of libraries, which must be the same everywhere: they decide bytes.

    Raises
    ------
    BuildError
        If no scheduler answers, no worker comes, or a worker does not see the file or has other versions.
    """
    distributed = need("distributed", "build shards")
    try:
        client = distributed.Client(address, set_as_default=False, timeout=_ANSWER_S)
    except (OSError, TimeoutError) as error:
        raise BuildError(
            f"--scheduler {address}: no Dask scheduler answers ({error or 'timeout'}): start one with `dask scheduler`"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            raise BuildError(
                f"--scheduler {address}: no worker came in {_WORKERS_S} s: start one with `dask worker {address}`"
            ) from error
        try:
            found = client.run(_seen_by_worker, see, versions)
        except ImportError as error:
            raise BuildError(
                f"--scheduler {address}: a worker cannot import scdata ({error}): install it there"
            ) from error
        own = _seen_by_worker(see, versions)
        for worker, (content, libraries) in found.items():
            if content != own[0]:
                raise BuildError(
                    f"worker {worker} does not see {see}: output and scratch must be on storage that all workers share, "
                    "under the same path"
                )
            for name, version in own[1].items():
                if libraries.get(name) != version:
                    raise BuildError(
                        f"worker {worker} has {name} {libraries.get(name)}, this process {version}: install one version"
                    )
        yield client, sum(client.nthreads().values())


def _seen_by_worker(path: Path, versions: Callable[[], dict[str, str]]) -> tuple[str | None, dict[str, str]]:
    return sha256_of(path) if path.is_file() else None, versions()


def run_tasks(
    client: Any,
    function: Callable[..., dict[str, Any]],
    arguments: Callable[[int], tuple[Any, ...]],
    numbers: Sequence[int],
    n_workers: int,
    done: Callable[[dict[str, Any]], Any],
    what: Callable[[int], str],
) -> None:
    """Run ``function(*arguments(number))`` for every number.

    Parameters
    ----------
    client
        From `cluster`.
    numbers
        Which tasks; a task may run more than once, and must not mind.
    done
        Called with what each task returns, and ``peak_bytes``: the most memory that its process ever held.
    what
        Names a task by its number, for errors.

    Raises
    ------
    BuildError
        If a task kills three workers; the other tasks in flight are dropped.
    Exception
        Whatever a task raises.
    """
    distributed = need("distributed", "build shards")
    waiting = list(reversed(numbers))
    number_of: dict[Any, int] = {}
    stream = distributed.as_completed(loop=client.loop)

    def submit() -> None:
        number = waiting.pop()
        future = client.submit(_measured, function, *arguments(number), pure=False)
        number_of[future.key] = number
        stream.add(future)

    for _ in range(min(len(waiting), _AHEAD * n_workers)):
        submit()
    for future in stream:
        number = number_of.pop(future.key)
        if future.status == "error":
            error = future.exception()
            if isinstance(error, distributed.KilledWorker):
                raise BuildError(
                    f"{what(number)} killed its worker three times (out of memory?): use fewer --workers, and run the same "
                    "command again; finished tasks are kept"
                )
            raise error
        done(future.result())
        future.release()
        if waiting:
            submit()


def _measured(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    result = function(*arguments)
    return {**result, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """The most memory that this process held. (On Linux ``ru_maxrss`` is that of the parent, if it held more at the fork.)"""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

"""Runs tasks: one driver over dask.distributed, few tasks in flight.

One worker is a thread of this process; more are processes of their own, spawned, never forked (TileDB hangs after a fork).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import BuildError
from scdata._optional import need

_AHEAD = 2  # tasks in flight for each worker: one runs, one waits


@contextmanager
def cluster(n_workers: int, scratch: Path) -> Iterator[Any]:
    """A dask client over `n_workers` local workers, closed at the end of the block; dask's own files go to `scratch`."""
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
        "distributed.admin.log-format": "%(message)s",
        # distributed always listens for HTTP: let it serve nothing
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "logging.distributed": "critical",
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=n_workers > 1,
            # dask serves its state over http in any case: on a free port, and to this machine only
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=0,
            local_directory=str(scratch),
            silence_logs="CRITICAL",
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


def run_tasks(
    client: Any,
    function: Callable[..., dict[str, Any]],
    arguments: Sequence[Any],
    numbers: Sequence[int],
    n_workers: int,
    done: Callable[[int], Any],
    what: Callable[[int], str],
) -> None:
    """Run ``function(*arguments, number)`` for every number.

    Parameters
    ----------
    client
        From `cluster`.
    numbers
        Which tasks; a task may run more than once, and must not mind.
    done
        Called with the cells of each task that has ended.
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
        future = client.submit(function, *arguments, number, pure=False)
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
        done(int(future.result()["cells"]))
        future.release()
        if waiting:
            submit()

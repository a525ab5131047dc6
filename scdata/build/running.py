"""Phases of a build or a check: the tasks that are left, run on workers, with progress."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scdata.build.driver import run_tasks
from scdata.build.plan import Plan
from scdata.build.progress import Progress
from scdata.shard.files import names_in
from scdata.source import CountSource

Task = Callable[..., dict[str, Any]]


@dataclass
class Runner:
    """Runs tasks.

    Parameters
    ----------
    client, n_workers
        From `cluster`.
    progress
        Where to say what is happening.
    check
        Called after every task.
    peak_bytes
        The most memory that a worker process ever held.
    """

    client: Any
    n_workers: int
    progress: Progress
    check: Callable[[], None] = lambda: None
    peak_bytes: int = 0

    def run(
        self,
        name: str,
        task: Task,
        numbers: Sequence[int],
        arguments: Callable[[int], tuple[Any, ...]],
        cells: int,
        what: Callable[[int], str],
        done: Callable[[dict[str, Any]], Any] = lambda result: None,
    ) -> None:
        """Run ``task(*arguments(number))``, which returns how many of the `cells` it did as ``cells``, for every number.

        Parameters
        ----------
        name
            Of the phase.
        what
            Names a task by its number, for errors.
        done
            Called with what each task returns.
        """
        if not numbers:
            return
        with self.progress.phase(name, cells) as advance:

            def finished(result: dict[str, Any]) -> None:
                self.peak_bytes = max(self.peak_bytes, result["peak_bytes"])
                self.check()
                done(result)
                advance(int(result["cells"]))

            run_tasks(self.client, task, arguments, numbers, self.n_workers, finished, what)

    def over_cells(
        self,
        name: str,
        task: Task,
        mark: Callable[[Path, int], Path],
        plan: Plan,
        sources: Mapping[int, CountSource],
        scratch: Path,
    ) -> None:
        """Run ``task(folder of the plan, scratch, sources, number)`` for the tasks of a plan that have left no mark."""
        tasks = plan.tasks
        left = left_of(range(len(tasks)), partial(mark, scratch))

        def arguments(i: int) -> tuple[Any, ...]:
            # of ten thousand sources a task needs its own
            return plan.path, scratch, {tasks[i].source: sources[tasks[i].source]}, i

        cells = sum(tasks[i].stop - tasks[i].start for i in left)
        self.run(name, task, left, arguments, cells, lambda i: rows_of(plan, sources, i))


def rows_of(plan: Plan, sources: Mapping[int, CountSource], number: int) -> str:
    """Names a task of a plan, for errors."""
    task = plan.tasks[number]
    return f"the task of rows {task.start} to {task.stop} of {sources[task.source].uri}"


def left_of(numbers: Sequence[int], mark: Callable[[int], Path]) -> list[int]:
    """Which of the numbers have no mark yet."""
    there: dict[Path, set[str]] = {}
    left = []
    for number in numbers:
        path = mark(number)
        if path.parent not in there:
            there[path.parent] = names_in(path.parent)
        if path.name not in there[path.parent]:
            left.append(number)
    return left

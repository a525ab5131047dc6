"""How the files of a set get to a branch, and the branch that readers look at to a whole set, in one step.

A reader finds a set by its manifest. Where the branch holds none, commits of bounded size go straight to it, the manifest
with the last. Where it holds another set, that one stays whole to the end: commits go to a branch of their own, and one
commit, which names what has been uploaded already, takes the place of the other set. Where there is no such branch, it is
made when all is there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scdata._errors import StorageError
from scdata.hub.files import PublishedFile
from scdata.hub.repository import BranchMovedError, PassingError, Repository
from scdata.shard.manifest import MANIFEST

# of a commit: the Hub advises a hundred files, and checks each before it answers
MOST_FILES, MOST_BYTES = 100, 20_000_000_000
# of the commit that takes another set's place, which cannot be parted: the Hub's own client goes as far
MOST_AT_ONCE = 1000
MAIN = "main"


@dataclass(frozen=True)
class Upload:
    """What there is to do.

    Parameters
    ----------
    missing
        Files that are not there yet, in order.
    stale
        Paths that another set left.
    aside
        Whether commits go to a branch of their own first.
    replaces
        Whether another set then gives way to this one.
    """

    missing: Sequence[PublishedFile]
    stale: Sequence[str]
    aside: bool = False
    replaces: bool = False

    @property
    def n_bytes(self) -> int:
        return sum(file.size for file in self.missing)

    @property
    def n_commits(self) -> int:
        """Commits that upload, and the one that takes another set's place."""
        own = sum(1 for _ in parts(self.missing))
        return (own or bool(self.stale)) + self.replaces


def parts(files: Sequence[PublishedFile]) -> Iterator[list[PublishedFile]]:
    """Files of one commit each, in order."""
    part: list[PublishedFile] = []
    for file in files:
        if part and (len(part) >= MOST_FILES or sum(own.size for own in part) + file.size > MOST_BYTES):
            yield part
            part = []
        part.append(file)
    if part:
        yield part


def difference(files: Sequence[PublishedFile], there: dict[str, Any]) -> list[PublishedFile]:
    """The files that are not there, or not so."""
    return [file for file in files if not file.is_there(there.get(file.path))]


def bring(
    repository: Repository,
    branch: str,
    files: Sequence[PublishedFile],
    stale: Callable[[str], bool],
    summary: str,
    advance: Callable[[int], Any],
    *,
    may_replace: bool,
) -> tuple[str, int]:
    """Commit to a branch until all files stand there, and nothing stale: from wherever it stands.

    Parameters
    ----------
    stale
        Whether a path that is none of `files` is deleted.
    advance
        Takes the bytes that were just committed.
    may_replace
        Whether the branch may hold another set, which ends with the first commit: for a branch that nobody reads.

    Returns
    -------
    tuple[str, int]
        The commit it stands at, and how many commits it took.

    Raises
    ------
    StorageError
        If the Hub refuses, or fails too often in a row.
    """
    failures = n_commits = 0
    wanted = {file.path for file in files}
    while True:
        head = repository.head(branch)
        if head is None:
            raise StorageError(
                f"{repository.repo_id}: its branch {branch!r} was deleted meanwhile; run the command again"
            )
        there = repository.files(head)
        missing = difference(files, there)
        old = [path for path in there if path not in wanted and stale(path)]
        if not missing and not old:
            return head, n_commits
        replaced = MANIFEST in there and any(file.path == MANIFEST for file in missing)
        if replaced and not may_replace:
            raise StorageError(
                f"{repository.repo_id}: somebody else published a set to its branch {branch!r} meanwhile; run the command "
                "again if yours is to take its place"
            )
        pieces = list(parts(missing)) or [[]]
        try:
            for i, piece in enumerate(pieces):
                drop = old if i == len(pieces) - 1 else []
                if i == 0 and len(pieces) > 1 and replaced:
                    drop = [MANIFEST]  # it does not describe what comes
                head = repository.add(branch, head, piece, drop, f"{summary} ({i + 1} of {len(pieces)})")
                n_commits, failures = n_commits + 1, 0
                advance(sum(file.size for file in piece))
        except (PassingError, BranchMovedError) as error:
            # whether the last commit arrived is seen by looking
            failures += 1
            repository.patience(failures, error)


def take_place(
    repository: Repository,
    branch: str,
    source: str,
    files: Sequence[PublishedFile],
    stale: Callable[[str], bool],
    summary: str,
) -> tuple[str, int]:
    """Make a branch hold the files of the commit `source`, in one commit.

    Returns
    -------
    tuple[str, int]
        The commit it stands at, and how many commits it took.

    Raises
    ------
    StorageError
        If the Hub refuses, or fails too often in a row.
    """
    failures = n_commits = 0
    wanted = {file.path for file in files}
    while True:
        head = repository.head(branch)
        if head is None:
            repository.branch(branch, source)
            continue
        there = repository.files(head)
        paths = [file.path for file in difference(files, there)]
        old = [path for path in there if path not in wanted and stale(path)]
        if not paths and not old:
            return head, n_commits
        try:
            repository.copy(branch, head, source, paths, old, summary)
            n_commits += 1
        except (PassingError, BranchMovedError) as error:
            failures += 1
            repository.patience(failures, error)

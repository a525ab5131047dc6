"""Publish a set on the Hugging Face Hub."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scdata._errors import StorageError
from scdata._optional import need
from scdata._storage import is_remote
from scdata.build.progress import Progress
from scdata.hub.card import CARD, tag_of
from scdata.hub.files import PublishedFile, is_ours, published_files
from scdata.hub.repository import PassingError, Repository
from scdata.hub.upload import MAIN, MOST_AT_ONCE, Upload, bring, difference, take_place
from scdata.shard.manifest import MANIFEST
from scdata.shard.shard_set import ShardSet

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Published:
    """What publishing came to, or would come to.

    Parameters
    ----------
    repo_id
        The dataset.
    branch
        The branch that holds the set.
    tag
        The revision that holds exactly this set.
    commit
        Where the branch stands; empty for a dry run.
    n_files, n_bytes
        Of the set, with card and preview.
    n_files_new, n_bytes_new
        Of these, what had to be uploaded.
    n_files_stale
        Files of another set that are deleted.
    n_commits
        Commits made.
    asked
        Whether the Hub said what is there; False for a dry run that did not reach it, which is as if nothing were.
    """

    repo_id: str
    branch: str
    tag: str
    commit: str
    n_files: int
    n_bytes: int
    n_files_new: int
    n_bytes_new: int
    n_files_stale: int
    n_commits: int
    asked: bool = True


def publish(
    path: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    branch: str = MAIN,
    card: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Published:
    """Put a finished set on the Hugging Face Hub, with a card and a preview, so that readers see all of it or nothing.

    Files that are there are known by their hashes and not uploaded again, so the same call goes on after whatever stopped it.
    The token is the one that huggingface_hub finds: ``HF_TOKEN``, or that of ``hf auth login``.

    Parameters
    ----------
    path
        The set's folder.
    repo_id
        ``"USER/NAME"`` of a dataset; made if it is not there.
    private
        Make a private repository. One that is there stays as it is.
    branch
        The branch that is to hold the set; made if it is not there.
    card
        Markdown of one's own for ``README.md``; None: `scdata card`'s.
    dry_run
        Change nothing; only find out what there is to do. A Hub that cannot be reached is no error then, see `Published`.
    progress
        Where to say how far it is; None: nowhere.

    Raises
    ------
    StorageError
        If the Hub cannot be reached, or refuses.
    CorruptShardError
        If a file of the set is not the one that its manifest names; it is not published.
    ValueError
        If a name is none, or `private` is asked for and the repository is public.

    Examples
    --------
    >>> scdata.publish("pbmc.set", "ann/pbmc", private=True)  # doctest: +SKIP
    """
    if not _REPO_ID.fullmatch(repo_id):
        raise ValueError(f"repo_id = {repo_id!r}: write USER/NAME, as in ann/pbmc")
    if is_remote(os.fspath(path)):
        raise ValueError(f"{path}: only sets in local folders are published; copy it to one first")
    progress = progress or Progress()
    shards = ShardSet(path)
    files = published_files(shards, repo_id, card)
    with _quiet_client():
        repository = Repository(repo_id, progress.note, hurried=dry_run)
        publication = _Publication(repository, shards, files, branch, progress)
        return publication.plan(private) if dry_run else publication.run(private)


class _Publication:
    """One set on its way to one branch."""

    def __init__(
        self, repository: Repository, shards: ShardSet, files: list[PublishedFile], branch: str, progress: Progress
    ) -> None:
        self.repository, self.files, self.branch, self.progress = repository, files, branch, progress
        self.tag = tag_of(shards)
        self.stale = partial(is_ours, shards=shards)
        # where files wait, if they may not be seen yet: the next attempt finds them there
        self.waiting = f"scdata-{self.tag}"
        self.summary = f"Cells as shards, {self.tag}"

    def run(self, private: bool) -> Published:
        if not self._exists(private):
            self.repository.create(private)
        return self._upload(self._todo(exists=True))

    def plan(self, private: bool) -> Published:
        """What there is to do, or would be if nothing were there."""
        todo = self._todo(exists=False)
        self.progress.note(
            f"if nothing is there yet: {len(todo.missing):,} files, {todo.n_bytes / 1e6:,.1f} MB, in {todo.n_commits:,} "
            "commit(s); asking the Hub"
        )
        try:
            todo = self._todo(self._exists(private))
        except StorageError as error:
            if not isinstance(error.__cause__, PassingError):
                raise
            self.progress.note(f"the Hub cannot be reached: {error}")
            return self._said(todo, "", todo.n_commits, asked=False)
        return self._said(todo, "", todo.n_commits)

    def _exists(self, private: bool) -> bool:
        """Whether the repository is there, and may be as it is."""
        is_private = self.repository.is_private()
        if private and is_private is False:
            raise ValueError(
                f"{self.repository.repo_id} is public already: --private is for new repositories; change it in its settings, "
                "or name another one"
            )
        return is_private is not None

    def _todo(self, exists: bool) -> Upload:
        """What is missing; an upload that was interrupted may have brought some of it already."""
        if not exists:
            return Upload(self.files, [], aside=self.branch != MAIN)
        head = self.repository.head(self.branch)
        there = {} if head is None else self.repository.files(head)
        missing, wanted = difference(self.files, there), {file.path for file in self.files}
        stale = [path for path in there if path not in wanted and self.stale(path)]
        changing = {file.path for file in missing}
        if CARD in there and CARD in changing:
            self.progress.note(
                f"{CARD} on the Hub is replaced; its history keeps it. A card of your own, as one that was edited there, goes "
                "along with --card"
            )
        aside = head is None or (MANIFEST in there and MANIFEST in changing)
        if not aside:
            return Upload(missing, stale)
        if head is not None and len(missing) + len(stale) > MOST_AT_ONCE:
            raise ValueError(
                f"{self.repository.repo_id}: its branch {self.branch!r} holds another set, and {len(missing) + len(stale):,} "
                f"files would change at once, over {MOST_AT_ONCE:,}: publish to a new branch (--branch), or to a new repository"
            )
        waiting = self.repository.head(self.waiting)
        waiting_files = {} if waiting is None else self.repository.files(waiting)
        return Upload(difference(missing, waiting_files), stale, aside=True, replaces=head is not None)

    def _upload(self, todo: Upload) -> Published:
        repository, goal = self.repository, self.waiting if todo.aside else self.branch
        if todo.aside and repository.head(goal) is None:
            repository.branch(goal, repository.head(self.branch) or MAIN)
        with self.progress.phase("upload", todo.n_bytes, "B") as advance:
            commit, n_commits = bring(
                repository, goal, self.files, self.stale, self.summary, advance, may_replace=todo.aside
            )
        if todo.aside:
            commit, more = take_place(repository, self.branch, commit, self.files, self.stale, self.summary)
            n_commits += more
        if left := difference(self.files, repository.files(commit)):
            raise StorageError(
                f"{repository.repo_id}: {left[0].path} is not as it was uploaded: run the command again, which uploads what "
                "differs"
            )
        repository.tag(self.tag, commit)
        repository.drop_branch(self.waiting)
        return self._said(todo, commit, n_commits)

    def _said(self, todo: Upload, commit: str, n_commits: int, asked: bool = True) -> Published:
        return Published(
            self.repository.repo_id, self.branch, self.tag, commit,
            len(self.files), sum(file.size for file in self.files),
            len(todo.missing), todo.n_bytes, len(todo.stale), n_commits, asked,
        )  # fmt: skip


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Without the client's own bars, and its warnings, which would put signed addresses of uploads into logs."""
    utils: Any = need("huggingface_hub.utils", "publish to the Hub")
    level, had_bars = utils.logging.get_verbosity(), not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    if had_bars:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if had_bars:
            utils.enable_progress_bars()

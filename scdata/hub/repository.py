"""A dataset repository of the Hub: asked again where it fails now and then, with errors that say what to do."""

import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from scdata._errors import CorruptShardError, StorageError
from scdata._hub import causes, hub_remedy, is_broken_way, is_of_hub
from scdata._optional import need
from scdata._store_files import http_status
from scdata.hub.files import PublishedFile

Result = TypeVar("Result")
_KIND = "dataset"
# Seconds between attempts, each up to half as long again. The client itself asks again in the seconds after a failure, where it
# does at all: these are for a Hub that is away for minutes
_WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
_FEW = 2  # waits, where minutes would help nobody
_ANSWER_S = 5.0  # for an answer, where somebody waits for it
_LONGEST_S = 3600.0  # commits are rationed by the hour
_PASSING = (408, 429)  # and all from 500 on
_CHANGED = 412  # the branch is no longer where it was
_RATE = re.compile(r"r=0;\s*t=(\d+)")
_XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3}) ")
_SECRETS = re.compile(r"[?]\S*|hf_\w+")


class BranchMovedError(StorageError):
    """Somebody else committed to the branch meanwhile."""


class PassingError(StorageError):
    """The Hub was busy, or the way to it broke: another attempt may do."""

    wait_s = 0.0  # as the Hub asked


class Repository:
    """A dataset repository.

    Parameters
    ----------
    repo_id
        ``"USER/NAME"``.
    say
        Takes a remark about what is waited for.
    hurried
        Whether to give up after seconds, not minutes, as somebody who only asks would.
    """

    def __init__(self, repo_id: str, say: Callable[[str], None], *, hurried: bool = False) -> None:
        self.repo_id, self._say = repo_id, say
        self._hurried, self._answered, self._begin = hurried, False, time.monotonic()
        self._hub = need("huggingface_hub", "publish to the Hub")
        # a token is found where the client looks: HF_TOKEN, or what `hf auth login` stored
        self._api = self._hub.HfApi(library_name="scdata")

    # -- what is there -------------------------------------------------------

    def is_private(self) -> bool | None:
        """None if there is no such repository, as far as the token sees."""
        try:
            timeout = _ANSWER_S if self._hurried else None
            info = self._patient(lambda: self._api.repo_info(self.repo_id, repo_type=_KIND, timeout=timeout))
            return bool(info.private)
        except StorageError as error:
            if type(error.__cause__) is self._hub.errors.RepositoryNotFoundError:
                return None
            raise

    def head(self, branch: str) -> str | None:
        """The commit that a branch or tag stands at; None if there is none."""
        try:
            return str(self._patient(lambda: self._api.repo_info(self.repo_id, revision=branch, repo_type=_KIND)).sha)
        except StorageError as error:
            if isinstance(error.__cause__, self._hub.errors.RevisionNotFoundError):
                return None
            raise

    def files(self, revision: str) -> dict[str, Any]:
        """What stands at a revision: a ``RepoFile`` for each path."""
        listed = self._patient(
            lambda: list(self._api.list_repo_tree(self.repo_id, recursive=True, revision=revision, repo_type=_KIND))
        )
        return {entry.path: entry for entry in listed if hasattr(entry, "blob_id")}

    # -- what is changed -----------------------------------------------------

    def create(self, private: bool) -> None:
        """Make the repository, if it is not there."""
        self._patient(
            lambda: self._api.create_repo(self.repo_id, repo_type=_KIND, private=private or None, exist_ok=True)
        )

    def branch(self, name: str, start: str) -> None:
        """Make a branch at a commit; one that is there stays as it is."""
        self._patient(
            lambda: self._api.create_branch(self.repo_id, branch=name, revision=start, repo_type=_KIND, exist_ok=True)
        )

    def drop_branch(self, name: str) -> None:
        """Delete a branch, if it is there."""
        if self.head(name) is None:
            return
        try:
            self._patient(lambda: self._api.delete_branch(self.repo_id, branch=name, repo_type=_KIND))
        except StorageError:
            # an attempt whose answer did not arrive may have done it
            if self.head(name) is not None:
                raise

    def tag(self, name: str, commit: str) -> None:
        """Name a commit for good; a tag that is there stays where it is."""
        self._patient(
            lambda: self._api.create_tag(self.repo_id, tag=name, revision=commit, repo_type=_KIND, exist_ok=True)
        )

    def add(self, branch: str, head: str, files: Sequence[PublishedFile], drop: Sequence[str], summary: str) -> str:
        """Upload files and commit them to a branch that stands at `head`.

        Returns
        -------
        str
            The commit.

        Raises
        ------
        PassingError
            If an attempt failed for reasons that pass; what was uploaded need not be uploaded again.
        BranchMovedError
            If the branch stands elsewhere by now.
        CorruptShardError
            If a file is not the one that the manifest names.
        """
        additions = [self._hub.CommitOperationAdd(file.path, file.source) for file in files]
        with self._one_attempt():
            self._api.preupload_lfs_files(self.repo_id, additions, repo_type=_KIND, revision=branch)
        for file, addition in zip(files, additions, strict=True):
            found = addition.upload_info.sha256.hex()  # of the bytes that went up
            if found != file.sha256:
                raise CorruptShardError(
                    f"{file.path}: sha256 is {found[:16]}…, the manifest says {file.sha256[:16]}…: restore the file, or build "
                    "again; it was not published"
                )
        return self._commit(branch, head, [*self._deletions(drop), *additions], summary)

    def copy(self, branch: str, head: str, source: str, paths: Sequence[str], drop: Sequence[str], summary: str) -> str:
        """Commit to a branch that stands at `head` what other paths hold at the commit `source`, as `add` does."""
        copies = [self._hub.CommitOperationCopy(path, path, src_revision=source) for path in paths]
        return self._commit(branch, head, [*self._deletions(drop), *copies], summary)

    def _deletions(self, paths: Sequence[str]) -> list[Any]:
        return [self._hub.CommitOperationDelete(path, is_folder=False) for path in paths]

    def _commit(self, branch: str, head: str, operations: list[Any], summary: str) -> str:
        with self._one_attempt():
            done = self._api.create_commit(
                self.repo_id, operations, commit_message=summary, repo_type=_KIND, revision=branch, parent_commit=head
            )
        return str(done.oid)

    # -- failures ------------------------------------------------------------

    @contextmanager
    def _one_attempt(self) -> Iterator[None]:
        try:
            yield
            self._answered = True
        except Exception as error:
            if _status(error) == _CHANGED:
                raise BranchMovedError(f"{self.repo_id}: somebody else committed to the branch meanwhile") from error
            if not is_of_hub(error):
                raise
            if not _is_passing(error):
                raise self._told(error) from error
            passing = PassingError(self._said(error))
            passing.wait_s = _asked_wait(error)
            raise passing from error

    def patience(self, failures: int, error: StorageError) -> None:
        """Wait after a number of failures in a row.

        Raises
        ------
        StorageError
            If there were too many.
        """
        # a name that was resolved before may be again; one that never was is misspelt, or there is no network
        unknown = not self._answered and _is_unresolved(error)
        waits = _WAITS_S[:_FEW] if self._hurried or unknown else _WAITS_S
        if failures > len(waits) or (self._hurried and time.monotonic() - self._begin > _ANSWER_S):
            remedy = (
                "check the network, and HF_ENDPOINT if it is set"
                if unknown
                else "the same command goes on where it was"
            )
            raise StorageError(f"{error}, {failures} times; {remedy}") from error
        wait = waits[failures - 1] * random.uniform(1, 1.5)
        if isinstance(error, PassingError) and not self._hurried:
            wait = max(wait, error.wait_s)
        self._say(f"{error}: again in {wait:.0f} s")
        time.sleep(wait)

    def _patient(self, call: Callable[[], Result]) -> Result:
        """Call what may be called again."""
        failures = 0
        while True:
            try:
                with self._one_attempt():
                    return call()
            except PassingError as error:
                failures += 1
                self.patience(failures, error)

    def _told(self, error: BaseException) -> StorageError:
        remedy = hub_remedy(error, self.repo_id, _status(error), writing=True) or "check the name and the network"
        return StorageError(f"{self._said(error)}; {remedy}")

    def _said(self, error: BaseException) -> str:
        # addresses of uploads are signed
        text = _SECRETS.sub("", " ".join(str(error).split()))
        return f"{self.repo_id}: {text or type(error).__name__}"


def _status(error: BaseException) -> int | None:
    """What the Hub answered; the library for Xet has it in its text only."""
    found = _XET_STATUS.search(str(error))
    return int(found.group(1)) if found is not None else http_status(error)


def _is_passing(error: BaseException) -> bool:
    status = _status(error)
    return is_broken_way(error) if status is None else status in _PASSING or status >= 500


def _is_unresolved(error: BaseException) -> bool:
    """True if the Hub's name has no address; the client has the reason among the arguments of its own error."""
    return any(isinstance(own, socket.gaierror) for cause in causes(error) for own in (cause, *cause.args))


def _asked_wait(error: BaseException) -> float:
    """Seconds that a busy Hub asks to wait: ``Retry-After: 30``, or ``RateLimit: "api";r=0;t=30`` where nothing remains."""
    for own in causes(error):
        answer: Any = getattr(own, "response", None)
        if answer is not None:
            told = answer.headers.get("Retry-After", "")
            if (found := _RATE.search(answer.headers.get("RateLimit", ""))) is not None and not told:
                told = found.group(1)
            return min(float(told), _LONGEST_S) if told.isdigit() else 0.0
    return 0.0

"""Addresses on the Hugging Face Hub, what it says when it refuses, and what to do about it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from scdata._optional import need

_ADDRESS = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?(/.*)?")
_COMMIT = re.compile("[0-9a-f]{40}")
_TOKENS = "https://huggingface.co/settings/tokens"
_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "hf_xet")
# what the client's library for Xet raises; it asks again for minutes before
_OF_XET = (ConnectionError, TimeoutError)
_GATED, _UNKNOWN = "GatedRepoError", "RepositoryNotFoundError"


@dataclass(frozen=True)
class HubAddress:
    """``hf://datasets/USER/NAME@REVISION/PATH``.

    Parameters
    ----------
    repo_id
        ``USER/NAME``.
    revision
        Branch, tag or commit; None: the main branch.
    path
        What follows, from its slash on.
    """

    repo_id: str
    revision: str | None
    path: str

    @staticmethod
    def of(uri: str) -> "HubAddress | None":
        """The parts of an address; None for one of anything but a dataset."""
        found = _ADDRESS.fullmatch(uri)
        if found is None:
            return None
        return HubAddress(found[1], None if found[2] is None else unquote(found[2]), found[3] or "")

    @property
    def is_pinned(self) -> bool:
        """True if it names a commit, which stays what it is."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> str:
        """The same place at a commit."""
        return f"hf://datasets/{self.repo_id}@{commit}{self.path}"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__


def is_of_hub(error: BaseException) -> bool:
    """True if the Hub said it, or the way there broke."""
    return any(
        type(own).__module__.partition(".")[0] in ("huggingface_hub", *_CLIENTS) or isinstance(own, _OF_XET)
        for own in causes(error)
    )


def is_broken_way(error: BaseException) -> bool:
    """True for a connection that failed, or ended too early."""
    return any(
        (type(own).__module__.partition(".")[0] in _CLIENTS and type(own).__name__ != "HTTPStatusError")
        or isinstance(own, _OF_XET)
        for own in causes(error)
    )


def hub_remedy(error: BaseException, repo_id: str, status: int | None, *, writing: bool = False) -> str | None:
    """What to do about a refusal of the Hub; None for what it does not refuse.

    Parameters
    ----------
    repo_id
        The dataset, for addresses.
    status
        What the server said.
    writing
        Whether something was to be changed.
    """
    has_token = need("huggingface_hub", "reach the Hub").get_token() is not None
    names = {type(own).__name__ for own in causes(error)}
    if _GATED in names:
        how = f"ask for access at https://huggingface.co/datasets/{repo_id} with the account of your token"
        return f"access to {repo_id} is granted by its owner: {how if has_token else f'{how}; {_no_token()}'}"
    if _UNKNOWN in names:
        who = "the account of your token may not see it" if has_token else f"needs a token; {_no_token()}"
        return f"there is no dataset {repo_id}, or it is private and {who}: check the name"
    if status == 401:
        taken = f"the Hub does not take the token that was found: make another one at {_TOKENS}"
        return taken if has_token else _no_token()
    if status == 403 and writing:
        return (
            f"the token may not write to {repo_id}: make one with the role write, or with write access to the namespace "
            f"{repo_id.partition('/')[0]}, at {_TOKENS}"
        )
    return None


def _no_token() -> str:
    return f"no token was found: run `hf auth login`, or set HF_TOKEN to one from {_TOKENS}"

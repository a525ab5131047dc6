"""What the Hugging Face Hub says when it refuses, and what to do about it."""

from collections.abc import Iterator

from scdata._optional import need

_TOKENS = "https://huggingface.co/settings/tokens"
_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "hf_xet")
_GATED, _UNKNOWN = "GatedRepoError", "RepositoryNotFoundError"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__


def is_of_hub(error: BaseException) -> bool:
    """True if the Hub said it, or the way there broke."""
    return any(type(own).__module__.partition(".")[0] in ("huggingface_hub", *_CLIENTS) for own in causes(error))


def is_broken_way(error: BaseException) -> bool:
    """True for a connection that failed, or ended too early."""
    return any(
        type(own).__module__.partition(".")[0] in _CLIENTS and type(own).__name__ != "HTTPStatusError"
        for own in causes(error)
    )


def hub_remedy(error: BaseException, repo_id: str, status: int | None) -> str | None:
    """What to do about a refusal of the Hub; None for what it does not refuse.

    Parameters
    ----------
    repo_id
        The dataset, for addresses.
    status
        What the server said.
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
    if status == 403:
        return (
            f"the token may not write to {repo_id}: make one with the role write, or with write access to the namespace "
            f"{repo_id.partition('/')[0]}, at {_TOKENS}"
        )
    return None


def _no_token() -> str:
    return f"no token was found: run `hf auth login`, or set HF_TOKEN to one from {_TOKENS}"

"""Files in folders and object stores alike: what is there, parts of them, and what a store says when it fails."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scdata._errors import ScdataError, StorageError
from scdata._hub import HubAddress, hub_remedy
from scdata._storage import is_local, is_remote, public_uri

_CLIENTS = ("aiohttp", "aiobotocore", "botocore", "huggingface_hub", "httpx", "httpx2")
_SECRETS = re.compile(r"(https?://)(?:[^\s'\"/?#]*@)?([^\s'\"?#]*)[^\s'\",;)]*")
_NOT_FOUND = 404
_REMEDY = "check the address and the network"
_AT_ONCE = 256  # small files read together
S3_REMEDY = (
    "check the address, --endpoint, --region, and the credentials in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, …); a "
    "public bucket may need --anonymous"
)


def is_file(path: Path) -> bool:
    """True if a file stands there; an object store that does not answer, or refuses, raises, unlike ``path.is_file()``."""
    if is_local(path):
        return path.is_file()
    try:
        return bool(info_of(path)["type"] == "file")
    except FileNotFoundError:
        return False


def info_of(path: Path) -> dict[str, Any]:
    """What a store says about the file or folder at an address.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    """
    place: Any = path
    with missing_only():
        info: dict[str, Any] = place.fs.info(place.path)
    return info


def open_ranges(path: Path) -> Any:
    """The file at an address, to read parts of: what is asked for is fetched, and nothing kept.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    """
    place: Any = path
    with missing_only():
        return place.fs.open(place.path, "rb", cache_type="none")


@contextmanager
def missing_only() -> Iterator[None]:
    """Let `FileNotFoundError` say that a file is not there, and nothing else."""
    try:
        yield
    except FileNotFoundError as error:
        # whatever a web server says, and its silence, is reported as this error
        cause = error.__cause__
        if cause is not None and http_status(cause) != _NOT_FOUND:
            raise cause from None
        raise


def http_status(error: BaseException | None) -> int | None:
    """What a server said, if an error or one of its causes tells."""
    while error is not None:
        answer: Any = getattr(error, "response", None)
        if isinstance(answer, dict):  # botocore's
            answer = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for found in (getattr(error, "status", None), answer, getattr(answer, "status_code", None)):
            if isinstance(found, int):
                return found
        error = error.__cause__
    return None


@contextmanager
def reaching(*uris: str) -> Iterator[None]:
    """Name the addresses, and the remedy, in what a store says when it cannot be reached, or refuses.

    Raises
    ------
    StorageError
    """
    try:
        yield
    except ScdataError:
        raise
    except Exception as error:
        remote = ", ".join(public_uri(uri) for uri in uris if is_remote(uri))
        # errors of local files name the file
        of_a_store = isinstance(error, OSError) and error.filename is None
        if not remote or not (of_a_store or type(error).__module__.partition(".")[0] in _CLIENTS):
            raise
        said = _SECRETS.sub(r"\1\2", " ".join(str(error).split())) or type(error).__name__
        raise StorageError(f"{remote}: {said}; {_remedy(remote, error)}") from error


def _remedy(remote: str, error: Exception) -> str:
    if "s3://" in remote:
        return S3_REMEDY
    place = HubAddress.of(remote)
    told = None if place is None else hub_remedy(error, place.repo_id, http_status(error))
    return told or _REMEDY


def read_ranges(ranges: Sequence[tuple[Path, int, int]]) -> list[bytes]:
    """``length`` bytes at ``offset`` of several files, in order; from an object store many at a time.

    Parameters
    ----------
    ranges
        Path, offset and length of each.

    Raises
    ------
    OSError
        If a file is not there, or ends before.
    """
    if not ranges:
        return []
    if is_local(ranges[0][0]):
        data = []
        for path, offset, length in ranges:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                data.append(file.read(length))
    else:
        paths, offsets, lengths = zip(*ranges, strict=True)
        ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
        store: Any = ranges[0][0]
        data = store.fs.cat_ranges([path.path for path in paths], list(offsets), ends, on_error="raise")
    for (path, offset, length), part in zip(ranges, data, strict=True):
        if len(part) != length:
            raise OSError(f"{path}: ends at byte {offset + len(part)}, {offset + length} are needed")
    return data


def read_files(paths: Sequence[Path]) -> Iterator[bytes]:
    """What stands in many small files, in order; from an object store a few hundred at a time.

    Raises
    ------
    OSError
        If a file is not there.
    """
    if not paths or is_local(paths[0]):
        yield from (path.read_bytes() for path in paths)
        return
    store: Any = paths[0]
    for start in range(0, len(paths), _AT_ONCE):
        names: list[str] = [path.path for path in paths[start : start + _AT_ONCE]]  # type: ignore[attr-defined]
        found = store.fs.cat(names, on_error="raise")
        yield from (found[name] for name in names)


def stamp_of(path: Path) -> tuple[Any, ...]:
    """What changes when a file is written anew.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    """
    if is_local(path):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    info = info_of(path)
    return info.get("ETag"), info["size"]


def remove_tree(path: Path) -> None:
    """Delete a folder with all that is in it, if it is there."""
    if is_local(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    files: Any = path
    found = files.fs.find(files.path)
    if found:
        files.fs.rm(found)

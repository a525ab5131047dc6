"""Where files are: paths of this machine, and addresses of object stores and web servers as paths.

An address becomes a ``UPath``, which has the methods of `pathlib.Path`; code that keeps to reading and writing files by them
need not know the difference. Annotations say `Path` for both.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scdata._errors import ScdataError, StorageError
from scdata._optional import need

# What may be read and written: no scheme runs a command, chains another, or reads what the user did not name
_READ, _WRITTEN = ("s3", "hf", "https", "http"), ("s3",)
_CLIENT_OF = {"s3": "s3fs", "hf": "huggingface_hub", "https": "aiohttp", "http": "aiohttp"}
_CONNECT_S, _READ_S, _ATTEMPTS = 10, 60, 5
_CLIENTS = ("aiohttp", "aiobotocore", "botocore", "huggingface_hub", "httpx", "httpx2")
_SECRETS = re.compile(r"(https?://)(?:[^\s'\"/?#]*@)?([^\s'\"?#]*)[^\s'\",;)]*")
_NOT_FOUND = 404
_REMEDY = "check the address and the network"
S3_REMEDY = (
    "check the address, --endpoint, --region, and the credentials in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, …); a "
    "public bucket may need --anonymous"
)
_AT_ONCE = 256  # small files read together


@dataclass(frozen=True, kw_only=True)
class Storage:
    """How to reach an object store. Never by credentials: those come from the environment (``AWS_…``, ``~/.aws``).

    Parameters
    ----------
    endpoint
        Address of an S3 service, such as ``http://127.0.0.1:9000``; None: ``AWS_ENDPOINT_URL``, else Amazon's.
    region
        Its region; None: ``AWS_REGION``, else the service's default.
    anonymous
        Do not sign requests: for public buckets.
    """

    endpoint: str | None = None
    region: str | None = None
    anonymous: bool = False

    def path(self, uri: str | os.PathLike[str]) -> Path:
        """A local path, or an address as one.

        Raises
        ------
        ValueError
            If the scheme is none that is read here.
        """
        if not isinstance(uri, str | os.PathLike):
            return uri  # an address as a path already
        text = os.fspath(uri)
        if not is_remote(text):
            return Path(text)
        scheme = text.partition("://")[0]
        if scheme not in _READ:
            raise ValueError(
                f"{public_uri(text)}: no such scheme is read here; use {', '.join(_READ)}, or a local path"
            )
        options: dict[str, Any] = {}
        need(_CLIENT_OF[scheme], f"read {scheme}:// addresses")
        if scheme == "s3":
            where = {"endpoint_url": self._endpoint, "region_name": self._region}
            options = {
                "anon": self.anonymous,
                "client_kwargs": {key: value for key, value in where.items() if value is not None},
                "config_kwargs": {
                    "connect_timeout": _CONNECT_S,
                    "read_timeout": _READ_S,
                    "retries": {"max_attempts": _ATTEMPTS, "mode": "standard"},
                },
                # other processes write beside this one
                "use_listings_cache": False,
            }
        # a UPath has the methods, but is no Path for a type checker
        path: Path = need("upath", f"read {scheme}:// addresses").UPath(text, **options)
        return path

    def tiledb(self) -> dict[str, str]:
        """The same as configuration of TileDB."""
        config = {
            "vfs.s3.no_sign_request": "true" if self.anonymous else "false",
            "vfs.s3.connect_timeout_ms": str(_CONNECT_S * 1000),
            # by default 3 s, in which a busy store may not begin to answer; TileDB may hold Python's lock meanwhile
            "vfs.s3.request_timeout_ms": str(_READ_S * 1000 // 2),
            "vfs.s3.connect_max_tries": str(_ATTEMPTS),
        }
        if self._region is not None:
            config["vfs.s3.region"] = self._region
        if self._endpoint is not None:
            parts = urlsplit(self._endpoint)
            config |= {
                "vfs.s3.scheme": parts.scheme,
                "vfs.s3.endpoint_override": parts.netloc,
                "vfs.s3.use_virtual_addressing": "false",
            }
        return config

    @property
    def _endpoint(self) -> str | None:
        return self.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")

    @property
    def _region(self) -> str | None:
        return self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")


def is_remote(uri: str | os.PathLike[str]) -> bool:
    """True for an address with a scheme."""
    return "://" in str(uri)


def is_local(path: Path) -> bool:
    """True for a path of this machine, as `Storage.path` gives it."""
    return isinstance(path, Path)


def check_writable(uri: str) -> None:
    """Refuse an address that cannot be written to.

    Raises
    ------
    ValueError
        If it has a scheme other than ``s3``.
    """
    if is_remote(uri) and uri.partition("://")[0] not in _WRITTEN:
        raise ValueError(f"{public_uri(uri)}: sets are written to local folders and to s3://BUCKET/…")


def public_uri(uri: str) -> str:
    """An address without user, password and query, which may hold secrets; a local path as it is."""
    if not is_remote(uri):
        return uri
    # a reader's own scheme may stand before: census:s3://…
    own, colon, _ = uri.partition("://")[0].rpartition(":")
    if colon:
        return f"{own}:{public_uri(uri[len(own) + 1 :])}"
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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
        said = _SECRETS.sub(r"\1\2", str(error)) or type(error).__name__
        raise StorageError(f"{remote}: {said}; {S3_REMEDY if 's3://' in remote else _REMEDY}") from error


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

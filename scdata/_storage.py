"""Where files are: paths of this machine, and addresses of object stores and web servers as paths.

An address becomes a ``UPath``, which has the methods of `pathlib.Path`; code that keeps to reading and writing files by them
need not know the difference. Annotations say `Path` for both.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scdata._optional import need

# What may be read and written: no scheme runs a command, chains another, or reads what the user did not name
_READ, _WRITTEN = ("s3", "hf", "https", "http"), ("s3",)
_CLIENT_OF = {"s3": "s3fs", "hf": "huggingface_hub", "https": "aiohttp", "http": "aiohttp"}
_CONNECT_S, _READ_S, _ATTEMPTS = 10, 60, 5


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
        how = "; `scdata publish` puts a finished one on the Hub" if uri.startswith("hf://") else ""
        raise ValueError(f"{public_uri(uri)}: sets are written to local folders and to s3://BUCKET/…{how}")


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

"""Downloads published files into the cache: https only, within a size, and nothing is parsed before its sha256 is right."""

import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import scdata
from scdata._errors import AssetsError, TokenizerError
from scdata.tokens.preset import load_preset
from scdata.tokens.published.asset_files import LIMIT, check_role, json_bytes, read_table
from scdata.tokens.published.assets import import_command, states_of
from scdata.tokens.published.cache import cache_folder, keep, origin_of, sha256_of
from scdata.tokens.published.unpickle import unpickle_table
from scdata.tokens.tables import AssetTable

Advance = Callable[[int], Any]

_TRIES = 4
_WAIT = 1.0  # seconds before the second try, twice as long before each further one
_LONGEST_WAIT = 30.0  # however long a server asks to wait
_TIMEOUT = 30.0  # seconds without a byte
_DEADLINE = 600.0  # seconds for one file
_PIECE = 1 << 16


def fetch_assets(
    name: str, phase: Callable[[str, int], AbstractContextManager[Advance]], *, force: bool = False
) -> Iterator[tuple[str, bool]]:
    """Download the files of a preset that have a url.

    Parameters
    ----------
    name
        Name or path of the preset.
    phase
        Called with a file and its size (0: unknown), gives a context whose value takes the bytes just read (fewer than 0: a
        try begins anew).
    force
        Also those that are there, and in place of other files.

    Yields
    ------
    Each file's name, and whether it was downloaded; False: the file pinned was there, or another form of its content.

    Raises
    ------
    AssetsError
        If it cannot be had, is not the one pinned, or the cache holds a file from elsewhere under that name.
    """
    preset, folder = load_preset(name), cache_folder()
    for state in states_of(preset):
        asset = state.asset
        if asset.url is None or asset.sha256 is None:
            continue
        if state.pinned and not force:
            yield asset.name, False
            continue
        origin = origin_of(folder, asset.name) if state.there else None
        if origin is not None and not force and origin.kept == sha256_of(folder / asset.name):
            raise AssetsError(
                f"the cache holds {asset.name} from {', '.join(origin.source)}, which is not the file that {name!r} names: "
                "--force replaces it"
            )
        with phase(asset.name, asset.bytes or 0) as advance:
            try:
                data = download(asset.url, asset.sha256, asset.bytes, advance)
            except AssetsError as error:
                error.add_note(f"or download it yourself and hand it over: {import_command(name)}")
                raise
        table = read_original(data, asset, asset.url)
        check_role(table, state.role, asset.url)
        keep(folder, asset.name, as_kept(data, table, asset), {asset.url: asset.sha256})
        yield asset.name, True


def read_original(data: bytes, asset: AssetTable, where: str) -> dict[str, Any]:
    """The table in a file as it was published.

    Raises
    ------
    TokenizerError
        If it is not of the asset's format.
    """
    if asset.format == "pickle":
        return unpickle_table(data, where)
    if asset.format == "tsv" and not asset.name.endswith(".tsv"):
        raise TokenizerError(f"{asset.name}: a tsv is kept under a name that ends in .tsv")
    return read_table(data, asset.name, where)


def as_kept(data: bytes, table: dict[str, Any], asset: AssetTable) -> bytes:
    """What the cache keeps of a file: the file itself, or JSON in place of a pickle."""
    return json_bytes(table, asset.name) if asset.format == "pickle" else data


def download(url: str, sha256: str, n_bytes: int | None, advance: Advance = lambda n: None) -> bytes:
    """A whole file.

    Parameters
    ----------
    url
        https only, and so must be whatever it redirects to.
    sha256
        What its bytes must hash to.
    n_bytes
        Its size, and so the most that is read; None: 64 MB at most.
    advance
        Takes the bytes just read.

    Raises
    ------
    AssetsError
        If it cannot be had after four tries, is larger, or has another sha256.
    """
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        advance(n)

    for attempt in range(_TRIES):
        try:
            data = _read(url, n_bytes, count)
            break
        except _TryAgain as problem:
            count(-done)
            if attempt == _TRIES - 1:
                raise AssetsError(f"{url}: {problem}, {_TRIES} times") from problem
            time.sleep(min(max(_WAIT * 2**attempt, problem.wait), _LONGEST_WAIT))
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise AssetsError(
            f"{url}: the file there has the sha256 {found} ({len(data):,} bytes), the preset names {sha256}: it is another "
            "file, or was altered on its way; nothing of it was kept"
        )
    return data


class _TryAgain(Exception):
    def __init__(self, problem: str, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise AssetsError(f"{req.full_url}: redirects to {newurl}; only https:// is read")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Knows https and the proxies of the environment, and no other scheme."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _OnlyHttps(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _read(url: str, n_bytes: int | None, advance: Advance) -> bytes:
    if not url.startswith("https://"):
        raise AssetsError(f"{url}: only https:// is read")
    request = urllib.request.Request(url, headers={"User-Agent": f"scdata/{scdata.__version__}"})
    try:
        with _opener().open(request, timeout=_TIMEOUT) as response:
            return _body(response, url, n_bytes, advance)
    except AssetsError:  # which is an OSError too
        raise
    except urllib.error.HTTPError as error:
        with error:
            problem = f"the server answers {error.code} {error.reason}"
            if error.code == 429 or error.code >= 500:
                asked = error.headers.get("Retry-After", "")
                raise _TryAgain(problem, float(asked) if asked.isascii() and asked.isdigit() else 0.0) from error
        raise AssetsError(f"{url}: {problem}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError):
            raise _TryAgain(f"the connection broke: {error.reason}") from error
        raise AssetsError(f"{url}: no connection: {error.reason}") from error
    except ValueError as error:  # an address, a length or a chunk that is none
        raise AssetsError(f"{url}: the server's answer makes no sense: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _TryAgain(f"the connection broke: {error or type(error).__name__}") from error


def _body(response: Any, url: str, n_bytes: int | None, advance: Advance) -> bytes:
    stated = response.headers.get("Content-Length", "")
    length = int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 20 else None
    most = LIMIT if n_bytes is None else n_bytes
    if length is not None and (length > most or (n_bytes is not None and length != n_bytes)):
        raise AssetsError(
            f"{url}: the file there has {length:,} bytes, expected {_expected(n_bytes)}: it is another file"
        )
    data, begin = bytearray(), time.monotonic()
    while piece := response.read1(_PIECE):
        if time.monotonic() - begin > _DEADLINE:
            raise AssetsError(f"{url}: {len(data):,} bytes in {_DEADLINE:.0f} s: the connection is too slow")
        data += piece
        advance(len(piece))
        if len(data) > most:
            raise AssetsError(f"{url}: more bytes than the {_expected(n_bytes)} expected: it is another file")
    if len(data) < (length or 0):
        raise _TryAgain(f"the connection broke after {len(data):,} of {length:,} bytes")
    return bytes(data)


def _expected(n_bytes: int | None) -> str:
    return f"at most {LIMIT:,}" if n_bytes is None else f"{n_bytes:,}"

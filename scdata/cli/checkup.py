"""What `scdata doctor` looks at; each finding has a remedy where it is bad."""

import importlib
import importlib.metadata
import multiprocessing
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scdata._storage import public_uri

OK, NOTE, BAD = "ok", "note", "bad"
_LEAST_DISK = 10 << 30
_LEAST_FILES = 1024
_WAIT = 5.0  # seconds for a server
# what an extra brings, and what it is for
_EXTRAS = {
    "torch": (("torch", "numba", "scipy"), "ShardDataset"),
    "build": (("anndata", "h5py", "zarr", "tiledbsoma", "dask", "distributed"), "scdata build"),
    "census": (("cellxgene_census",), "census: sources"),
    "s3": (("s3fs", "upath"), "s3:// addresses"),
    "plot": (("matplotlib",), "curves and plots"),
    "eval": (("anndata", "pandas", "sklearn", "scib_metrics", "harmonypy"), "recipes/evaluate.py"),
    "export": (("datasets", "webdataset"), "scdata export to datasets and WebDataset"),
}
_DISTRIBUTION = {
    "cellxgene_census": "cellxgene-census",
    "scib_metrics": "scib-metrics",
    "sklearn": "scikit-learn",
    "upath": "universal-pathlib",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    name
        What was looked at.
    status
        ``"ok"``, ``"note"`` (something does not work that may not be wanted) or ``"bad"``.
    text
        What was found.
    remedy
        What to do; empty if nothing.
    """

    name: str
    status: str
    text: str
    remedy: str = ""


def all_findings(folder: Path, network: bool) -> Iterator[Finding]:
    """Look at everything, one after the other.

    Parameters
    ----------
    folder
        Where sets are to be written.
    network
        Whether to ask the Hub, and S3 where it is set up.
    """
    yield machine()
    for extra in _EXTRAS:
        yield libraries(extra)
    yield from devices()
    yield start_method()
    yield disk(folder)
    yield open_files()
    if network:
        yield hub()
        yield from object_store()


def machine() -> Finding:
    import scdata

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"scdata {scdata.__version__}, Python {platform.python_version()}, {platform.system()}, {cores} cores"
    if platform.system() != "Linux":
        return Finding("machine", NOTE, text, "scdata is tested on Linux only")
    return Finding("machine", OK, text)


def _version(module: str) -> str | None:
    try:
        return importlib.metadata.version(_DISTRIBUTION.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return None


def libraries(extra: str) -> Finding:
    """Whether what an extra brings is there, and can be imported."""
    modules, what = _EXTRAS[extra]
    versions = {module: _version(module) for module in modules}
    missing = [module for module, version in versions.items() if version is None]
    remedy = f"pip install 'scdata-engine[{extra}]'"
    if missing:
        return Finding(extra, NOTE, f"no {', '.join(missing)}: {what} does not work", remedy)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken installation raises anything
            return Finding(extra, BAD, f"{module} is installed and cannot be imported: {error!r:.200}", remedy)
    return Finding(extra, OK, ", ".join(f"{module} {version}" for module, version in versions.items()))


def devices() -> Iterator[Finding]:
    """Whether torch and CuPy see a CUDA device, and were built for the same CUDA."""
    torch = importlib.import_module("torch") if _version("torch") else None
    built = None if torch is None else torch.version.cuda
    if torch is not None:
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(seen))
        text = f"torch for {'CPU' if built is None else f'CUDA {built}'} sees {names or 'no device'}"
        yield Finding("torch device", OK if seen else NOTE, text, "" if seen else "training and loading run on the CPU")
    cupy_for = {f"cupy-cuda{major}x": major for major in ("12", "13")}
    found = [name for name in cupy_for if _version(name)]
    if not found:
        major = (built or "13").split(".")[0]
        remedy = f"with a CUDA device: pip install 'scdata-engine[cuda{major}]'"
        yield Finding("CuPy", NOTE, "not installed: tokenizing runs on the CPU", remedy)
        return
    if len(found) > 1:
        yield Finding("CuPy", BAD, f"{' and '.join(found)} are both installed", f"pip uninstall {found[0]}")
        return
    [name] = found
    if built is not None and built.split(".")[0] != cupy_for[name]:
        remedy = f"pip uninstall {name}; pip install 'scdata-engine[cuda{built.split('.')[0]}]'"
        yield Finding("CuPy", BAD, f"{name}, and torch is built for CUDA {built}", remedy)
        return
    try:
        n = importlib.import_module("cupy").cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy has errors of its own for a missing driver
        yield Finding("CuPy", NOTE, f"{name} {_version(name)} sees no device: {error!s:.120}", "check nvidia-smi")
        return
    yield Finding("CuPy", OK, f"{name} {_version(name)} sees {n} device(s)")


def start_method() -> Finding:
    """How DataLoader workers start; TileDB hangs in a forked one."""
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    if method == "fork":
        text = "DataLoader workers are forked: fine for ShardDataset, not for TileDB-SOMA objects of your own"
        return Finding("workers", OK, text)
    return Finding("workers", OK, f"DataLoader workers start by {method}")


def disk(folder: Path) -> Finding:
    """Free space and whether a file can be written."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path("/"))
    free = shutil.disk_usage(there).free
    text = f"{free / 1e9:,.0f} GB free at {there}"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(
            "disk", BAD, f"{there} cannot be written to: {error.strerror}", "choose another folder: --folder DIR"
        )
    if free < _LEAST_DISK:
        remedy = "a build needs about 1.5 kB a cell, and as much again for scratch: --scratch elsewhere, or free space"
        return Finding("disk", NOTE, text, remedy)
    return Finding("disk", OK, text)


def open_files() -> Finding:
    """The limit of open files, which many sources come near to."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _LEAST_FILES:
        return Finding("open files", NOTE, f"at most {soft:,}", f"ulimit -n {min(hard, 65536)}")
    return Finding("open files", OK, f"at most {soft:,}")


def _asked(name: str, url: str, remedy: str) -> Finding:
    """Whether a server answers."""
    import urllib.error
    import urllib.request

    said = public_uri(url)

    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_WAIT) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(name, NOTE, f"{said} does not answer: {reason}", remedy)
    if status < 500:
        return Finding(name, OK, f"{said} answers")
    return Finding(name, NOTE, f"{said} answers with status {status}", remedy)


def hub() -> Finding:
    """The Hugging Face Hub, or what HF_ENDPOINT names; whether a token is there, never which."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    found = _asked("Hub", endpoint, "needed for hf:// and scdata publish only: check the network, HTTPS_PROXY")
    if found.status != OK:
        return found
    hub_library: Any = importlib.import_module("huggingface_hub")
    logged_in = hub_library.get_token() is not None
    if logged_in:
        return Finding("Hub", OK, f"{found.text}, and there is a token")
    return Finding("Hub", NOTE, f"{found.text}; no token, which publishing needs", "hf auth login, or HF_TOKEN")


def object_store() -> Iterator[Finding]:
    """The S3 service that AWS_ENDPOINT_URL names, if any."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        yield _asked("S3", endpoint, "check AWS_ENDPOINT_URL")

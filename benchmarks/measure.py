"""What every benchmark needs: the machine, and the cost of a child process."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

_LIBRARIES = ("scdata-engine", "numpy", "pyarrow", "numba", "torch", "scipy", "h5py", "tiledbsoma", "dask")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, and versions, as they stand in every result."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def run_child(code: str, *arguments: str, python: str | None = None) -> dict[str, Any]:
    """Run Python code in a process of its own, of this interpreter or another one.

    Returns
    -------
    dict
        What the code printed as JSON on its last line, and ``seconds``, ``cpu_seconds``, ``peak_mb`` (resident, the largest
        process) of the whole child.
    """
    begin = time.perf_counter()
    # a script of its own: processes that it spawns import it again
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as script:
        script.write(code)
    child = subprocess.Popen([python or sys.executable, script.name, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    os.unlink(script.name)
    if child.returncode != 0:
        raise RuntimeError(f"a benchmark's child failed with {child.returncode}")
    lines = out.strip().splitlines()
    return {
        **(json.loads(lines[-1]) if lines else {}),
        "seconds": round(time.perf_counter() - begin, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def write_result(name: str, result: dict[str, Any], out: str | None) -> None:
    """Print a result as JSON; with `out`, also write it there as ``NAME.json``."""
    table = {"benchmark": name, "machine": machine(), **result}
    text = json.dumps(table, indent=1)
    print(text)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        (Path(out) / f"{name}.json").write_text(text + "\n")

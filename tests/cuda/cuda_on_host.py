"""CUDA sources compiled as C++ and run on the CPU (see shim.h)."""

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

import numpy as np

SHIM = Path(__file__).with_name("shim.h")
COMPILER = shutil.which("g++")
FLAGS = ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-Wno-clobbered"]


_one_at_a_time = threading.Lock()  # as on one stream; the shim has one set of threads


@cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="scdata-cuda-")


@cache
def load(code):
    """The library of a source, with `run_NAME` and `parameters_NAME` of each of its kernels."""
    names = re.findall(r'extern "C" __global__ void (\w+)', code)
    source = "\n".join([f'#include "{SHIM}"', code, *(f"EXPORT({name})" for name in names)])
    stem = Path(_folder().name) / hashlib.sha256(source.encode()).hexdigest()[:16]
    stem.with_suffix(".cpp").write_text(source)
    command = [COMPILER, *FLAGS, str(stem.with_suffix(".cpp")), "-o", str(stem.with_suffix(".so"))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    library = ctypes.CDLL(str(stem.with_suffix(".so")))
    for name in names:
        getattr(library, f"parameters_{name}").restype = ctypes.c_char_p
        run = getattr(library, f"run_{name}")
        run.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
        run.restype = ctypes.c_char_p
    return library


def parameters(code, name):
    """Types of a kernel's parameters: NumPy's, with a star before those that are pointers."""
    return getattr(load(code), f"parameters_{name}")().decode().split()


def run(code, name, blocks, threads, values, shared_bytes, order):
    """Run a kernel; `values` are NumPy arrays, whose data are pointed to, and NumPy numbers.

    `order` 0: threads and blocks in order; 1: backward; else shuffled with that seed.

    Raises
    ------
    TypeError
        If a value has not the type that the kernel declares.
    RuntimeError
        If threads do not meet at one barrier, or shared memory is written beyond its end.
    """
    declared = parameters(code, name)
    if len(declared) != len(values):
        raise TypeError(f"{name} takes {len(declared)} arguments, got {len(values)}")
    cells = []
    for wanted, value in zip(declared, values, strict=True):
        pointed = isinstance(value, np.ndarray)
        kind = f"{'*' * pointed}{value.dtype.kind}{value.dtype.itemsize}"
        if kind != wanted:
            raise TypeError(f"{name} declares {wanted}, got {kind}")
        # a launch takes the address of each argument, and an argument may be an address
        cells.append(ctypes.c_void_p(value.ctypes.data) if pointed else ctypes.create_string_buffer(value.tobytes()))
    given = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
    with _one_at_a_time:
        problem = getattr(load(code), f"run_{name}")(blocks, threads, shared_bytes, order, ctypes.addressof(given))
    if problem:
        raise RuntimeError(f"{name}: {problem.decode()}")

"""Compile every CUDA source with NVRTC, and compare the stand-in for CuPy with CuPy itself. No device is needed.

Prints a line for each source and architecture; ends with status 1 where something is wrong.
"""

import inspect
import re
import sys
from pathlib import Path

import cupy
from cupy.cuda import nvrtc

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import cupy_standin
import standin_array

from scdata import _cuda

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")


def compiled(source, architecture):
    """Compile a source, print what the compiler says of its kernels, and return what is wrong with it."""
    text = (_cuda.ROOT / source).read_text()
    program = nvrtc.createProgram(text, source, (), ())
    options = (*_cuda.OPTIONS, f"--gpu-architecture={architecture}", "--ptxas-options=--verbose")
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        return [f"{source} {architecture}:\n{nvrtc.getProgramLog(program)}"]
    log = nvrtc.getProgramLog(program)
    used, spilled = re.findall(r"Used \d+ registers", log), re.findall(r"[1-9]\d* bytes spill", log)
    print(f"{source:24} {architecture:7} {len(nvrtc.getCUBIN(program)):6} bytes  {'; '.join(used)}")
    return [f"{source} {architecture}: {spilled[0]}s registers"] if spilled else []


def differences():
    """What the stand-in offers and CuPy does not."""
    ours = {"cupy_standin", "standin_array", "standin_cuda"}
    helpers = {"installed", "operand"}
    offered = [
        (name, value, cupy) for name, value in vars(cupy_standin).items() if name not in helpers and name[0] != "_"
    ]
    offered += [(name, value, cupy.cuda) for name, value in vars(cupy_standin.cuda).items()]
    for name, value, module in offered:
        is_ufunc = name in standin_array.UFUNCS + standin_array.DTYPES
        if not is_ufunc and getattr(value, "__module__", None) not in ours:
            continue
        real = getattr(module, name, None)
        if real is None:
            yield f"{module.__name__}.{name} is not there"
        elif inspect.isclass(value) and not is_ufunc:
            for method in vars(value):
                if not method.startswith("_") and not hasattr(real, method):
                    yield f"{module.__name__}.{name}.{method} is not there"
        elif inspect.isfunction(value) and inspect.isfunction(real):
            for parameter in getattr(value, "parameters", None) or inspect.signature(value).parameters:
                if parameter not in inspect.signature(real).parameters:
                    yield f"{module.__name__}.{name} has no parameter {parameter}"


def main():
    print(f"CuPy {cupy.__version__}, NVRTC {'.'.join(map(str, nvrtc.getVersion()))}")
    failures = [line for source in _cuda.sources() for arch in ARCHITECTURES for line in compiled(source, arch)]
    failures += differences()
    print("\n".join(failures) or "all sources compile; the stand-in offers nothing that CuPy lacks")
    return 1 if failures or not _cuda.sources() else 0


if __name__ == "__main__":
    sys.exit(main())

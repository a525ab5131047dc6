"""Altered cells, blocks and sets: refused or read, without leaving a buffer or ending the process."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"


def run(*arguments, code=None):
    command = [sys.executable, *(("-c", code) if code else (str(FUZZ),)), *map(str, arguments)]
    path = os.pathsep.join([str(FUZZ.parent), str(FUZZ.parents[2])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500, check=False)


def fuzz(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize(("row", "at_end"), [(2, True), (-2, False)])
def test_a_decoder_that_left_its_buffers_would_be_seen(row, at_end):
    code = """if True:
        import sys
        import numpy as np
        from guarded import Guarded
        from scdata.shard.codes import Bytes, CodedCounts, decode_counts, encode_counts

        row, at_end = int(sys.argv[1]), sys.argv[2] == "True"
        coded = encode_counts(np.array([0, 1, 2]), np.array([3, 9], np.int32), np.ones(2, np.int32))
        columns = [getattr(coded, name) for name in ("codes", "gap_at", "gap_more", "count_at", "count_more")]
        held = [Bytes(Guarded(1).copy(c.offsets, at_end), Guarded(1).copy(c.data, at_end)) for c in columns]
        out = np.empty(8, np.int32)
        own = CodedCounts(coded.gap_bits, *held)
        for rows in ([0, 1], [row]):
            rows = np.array(rows)
            decode_counts([own], rows * 0, rows, np.arange(10, dtype=np.int32), rows * 0, out, out.copy())
            print(rows, flush=True)
    """
    done = run(row, at_end, code=code)
    assert done.returncode == -signal.SIGSEGV
    assert done.stdout == "[0 1]\n"


def test_altered_cells():
    seen = fuzz("cells", 1, 8000)
    assert seen["refused"] > 1000
    assert seen["decoded"] > 300


def test_altered_blocks():
    seen = fuzz("blocks", 2, 2500)
    assert seen["refused"] > 1000
    assert seen["decoded"] > 300


def test_altered_sets(healthy):
    seen = fuzz("sets", 3, 30, healthy / "counts")
    assert seen["refused"] > 8
    assert seen["decoded"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_a_million_altered_cells(seed):
    fuzz("cells", seed, 250_000)


@pytest.mark.slow
def test_many_altered_blocks():
    fuzz("blocks", 20, 200_000)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["counts", "tokens"])
def test_many_altered_sets(healthy, base):
    fuzz("sets", 30, 1500, healthy / base)

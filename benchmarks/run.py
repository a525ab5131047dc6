"""All benchmarks at full size; results go to benchmarks/results/.

python benchmarks/run.py [CELLS.h5ad]     # default: the demo cells for bench_build
"""

import sys
from pathlib import Path

import bench_build
import bench_memory
import bench_stream

from scdata.resources import resource

if __name__ == "__main__":
    out = ["--out", str(Path(__file__).parent / "results")]
    h5ad = sys.argv[1] if len(sys.argv) > 1 else str(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
    bench_stream.main(out)
    bench_build.main([h5ad, *out])
    bench_memory.main(out)

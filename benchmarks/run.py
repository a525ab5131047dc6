"""All benchmarks at full size; results go to benchmarks/results/.

python benchmarks/run.py [CELLS.h5ad]     # default: the demo cells, where benchmarks take a file
"""

import argparse
from pathlib import Path

import bench_build
import bench_depth
import bench_leak
import bench_memory
import bench_object_store
import bench_objectives
import bench_plan
import bench_remote
import bench_side_by_side
import bench_statistics
import bench_stream
import bench_tokenizers

from scdata.resources import resource

if __name__ == "__main__":
    out = ["--out", str(Path(__file__).parent / "results")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("h5ad", nargs="?", default=str(resource("demo/demo_pbmc_ifnb_1k.h5ad")))
    h5ad = parser.parse_args().h5ad
    bench_stream.main(out)
    bench_build.main([h5ad, *out])
    bench_object_store.main([h5ad, *out])
    bench_side_by_side.main([h5ad, *out])
    bench_memory.main(out)
    bench_plan.main(out)
    bench_remote.main(out)
    bench_statistics.main(out)
    bench_depth.main([*out, "--plot"])
    bench_tokenizers.main(out)
    bench_objectives.main(out)
    bench_leak.main(out)

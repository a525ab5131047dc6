"""Sets whose hashes are right and whose contents are not, and a process of its own to load them in."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import scdata
from scdata.source import SyntheticSource

sys.path.append(str(Path(__file__).parent))
from altered_set import AlteredSet

# Loads and verifies set after set, and says what came of it: the error, the most memory above what was there before, and
# every file outside the set that was opened, process that was started, or object that was unpickled.
PROBE = """
import json, resource, sys, time
from pathlib import Path

import scdata
from scdata._errors import ScdataError

REFUSED = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class", "socket.connect")
seen, inside = [], ["/proc/", "/sys/", sys.prefix, sys.base_prefix, str(Path(scdata.__file__).parents[1])]


def watch(event, arguments):
    if event in REFUSED:
        seen.append([event, str(arguments[:1])])
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        path = str(Path(arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()).resolve())
        if not any(path.startswith(start) for start in inside):
            seen.append([event, path])


def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) / 1024


def load(path, filter):
    dataset = scdata.ShardDataset(path, columns=("cell_type", "measured"), filter=filter, num_threads=0)
    for _ in dataset:
        pass


def verify(path):
    report = scdata.verify_shards(path)
    if not report.ok:
        raise ScdataError("; ".join(report.problems))


def outcome(what, *arguments):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, began = memory("VmRSS"), time.perf_counter()
    try:
        what(*arguments)
        found = None
    except ScdataError as error:
        found = str(error)
    except BaseException as error:
        found = f"!{type(error).__name__}: {error}"
    return {"said": found, "mb": memory("VmHWM") - before, "s": time.perf_counter() - began}


first, *others = sys.argv[1:]
for filter in (None, "not is_control"):
    load(first, filter)
verify(first)
# so that a bomb that goes off ends this process and not the machine
most = int(memory("VmSize") * 2**20) + (2 << 30)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
sys.addaudithook(watch)
for path in others:
    inside.append(str(Path(path).resolve()))
    seen.clear()
    found = {"load": outcome(load, path, None), "filter": outcome(load, path, "not is_control")}
    print(json.dumps({**found, "verify": outcome(verify, path), "seen": seen}), flush=True)
    inside.pop()
"""


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    """A set of counts and a set of tokens, by name."""
    folder = tmp_path_factory.mktemp("healthy")
    source = SyntheticSource(300, n_genes=60, mean_genes=20, seed=5)
    scdata.build_shards(source.uri, folder / "counts", splits=["val=0.2"], block_size=32, shard_size=1 << 16)
    scdata.build_shards(source.uri, folder / "tokens", tokenizer="geneformer-v2", assets="fit", block_size=32)
    return folder


@pytest.fixture(scope="session")
def hostile_copy(healthy, tmp_path_factory):
    """A function: a copy of a healthy set."""

    def copy(name="counts"):
        return AlteredSet(shutil.copytree(healthy / name, tmp_path_factory.mktemp("hostile") / "set"))

    return copy


@pytest.fixture(scope="session")
def probe(healthy):
    """A function: what came of loading sets in a process of its own, a dict each."""

    def run(paths):
        command = [sys.executable, "-c", PROBE, str(healthy / "counts"), *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run

"""Copies of files in a folder of bounded size."""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scdata.shard.file_cache import FileCache

LIMIT = 64_000


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fill(folder, name, n=200):
    cache = FileCache(folder, LIMIT)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: cache.put(f"{name}/{i}", bytes(500 + i)), range(n)))


@pytest.fixture
def fast_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_threads_stay_below_the_limit(tmp_path, fast_switches):
    for turn in range(10):
        fill(tmp_path, str(turn))
        assert LIMIT / 2 < size_of(tmp_path) <= LIMIT


def test_processes_stay_below_the_limit(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(tmp_path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert LIMIT / 2 < size_of(tmp_path) <= LIMIT


def test_what_was_used_last_stays(tmp_path):
    cache = FileCache(tmp_path, LIMIT)
    cache.put("used", bytes(1000))
    for i in range(200):
        cache.put(str(i), bytes(1000))
        assert cache.get("used") == bytes(1000)
    assert cache.get("0") is None
    assert cache.get("199") is not None


def test_copies_that_others_left_count(tmp_path):
    fill(tmp_path, "before")
    FileCache(tmp_path, 10_000).put("new", bytes(1000))
    assert 0 < size_of(tmp_path) <= 10_000

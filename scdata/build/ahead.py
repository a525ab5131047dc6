"""Work ahead of a loop: the next item is made while one is used."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The items, each made in a thread while the caller uses the one before it; so two are held.

    All that `items` does happens in that thread, one thing after the other. Its errors are raised where its item would come.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="scdata-ahead")
    try:
        future = pool.submit(next, items, end)
        while (item := future.result()) is not end:
            future = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
    finally:
        # a caller that stops early waits for the item that is being made: its files may be closed next
        pool.shutdown(wait=True, cancel_futures=True)
        items.close()

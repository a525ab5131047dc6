import threading

import pytest

from scdata.build.ahead import one_ahead


def test_items_come_in_order_each_made_while_the_one_before_is_used():
    begun = [threading.Event() for _ in range(5)]

    def items():
        for i in range(4):
            begun[i].set()
            yield i
        begun[4].set()

    got = []
    for i in one_ahead(items()):
        got.append(i)
        # only a thread that works ahead sets it while this loop waits
        assert begun[i + 1].wait(10)
    assert got == [0, 1, 2, 3]


def test_an_error_comes_where_its_item_would():
    def items():
        yield 1
        raise ValueError("of the second")

    found = one_ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="of the second"):
        next(found)


def test_stopping_early_ends_the_thread_and_closes_what_is_read():
    closed = []

    def items():
        try:
            while True:
                yield threading.get_ident()
        finally:
            closed.append(True)

    found = one_ahead(items())
    thread = next(found)
    found.close()
    assert closed == [True]
    assert thread not in {t.ident for t in threading.enumerate()}

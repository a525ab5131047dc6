import os
import threading

from scdata._cached import cached_property


class Slow:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    @cached_property
    def value(self):
        """Its text."""
        if threading.current_thread() is not threading.main_thread():
            self.begun.set()
            assert self.go_on.wait(20), "nobody went on"
            self.ended.set()
        return object()


def test_it_is_worked_out_once():
    own = Slow()
    assert own.value is own.value
    assert own.value is not Slow().value
    assert Slow.value.__doc__ == "Its text."


def test_neither_another_object_nor_a_forked_process_waits():
    thread = threading.Thread(target=lambda: Slow().value)
    thread.start()
    assert Slow.begun.wait(20)
    assert Slow().value is not None
    child = os.fork()
    if child == 0:
        os._exit(0 if Slow().value is not None else 1)
    try:
        for _ in range(200):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            threading.Event().wait(0.05)
        assert done, "the child waits for a lock"
        assert status == 0
    finally:
        Slow.go_on.set()
        thread.join()
        if not done:
            os.kill(child, 9)
            os.waitpid(child, 0)
    # it was still at work when both others had their values
    assert Slow.ended.is_set()

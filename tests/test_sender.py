"""The thread that sends: in order, as far ahead as it may be, until one fails."""

from __future__ import annotations

import contextlib
import signal
import threading
import time

import pytest

from websauna_migrate.runs.sender import Sender


def test_all_are_sent_in_order_by_another_thread() -> None:
    sent: list[int] = []
    threads: set[str] = set()

    def send(one: int) -> None:
        sent.append(one)
        threads.add(threading.current_thread().name)

    with Sender(send, ahead=4) as sender:
        for number in range(20):
            sender.put(number)
        assert list(sender.over(0)) == list(range(20))
        assert len(sender) == 0
    assert sent == list(range(20))
    assert threads == {"websauna_migrate"}


def test_the_owner_waits_for_as_many_as_it_says() -> None:
    free = threading.Semaphore(0)
    with Sender(lambda one: free.acquire() and None, ahead=8) as sender:
        for number in range(8):
            sender.put(number)
        free.release(5)
        assert list(sender.over(3)) == [0, 1, 2, 3, 4]
        assert len(sender) == 3
        # With room for them, nobody waits.
        assert list(sender.over(7)) == []
        free.release(3)
        assert list(sender.over(0)) == [5, 6, 7]


def test_nothing_is_begun_behind_one_that_fails() -> None:
    begun: list[int] = []

    def send(one: int) -> None:
        begun.append(one)
        if one == 2:
            raise KeyError(one)

    with Sender(send, ahead=8) as sender:
        for number in range(8):
            sender.put(number)
        assert list(sender.over(0)) == [0, 1, 2]
        assert isinstance(sender.error, KeyError)
        sender.put(8)
        assert list(sender.over(0)) == []
    assert begun == [0, 1, 2]


@pytest.mark.parametrize("how", ["asked", "closed", "left"])
def test_what_was_not_begun_is_dropped(how: str) -> None:
    begun, go_on, stop = threading.Event(), threading.Event(), threading.Event()
    sent: list[int] = []

    def send(one: int) -> None:
        begun.set()
        go_on.wait()
        sent.append(one)

    def later() -> None:
        time.sleep(0.1)
        go_on.set()

    with Sender(send, ahead=4, stop=stop.is_set) as sender:
        for number in range(4):
            sender.put(number)
        begun.wait()
        if how == "asked":
            stop.set()
        threading.Thread(target=later).start()
        if how == "closed":
            sender.close()
        if how != "left":
            assert list(sender.over(0)) == [0]
    assert sent == [0]


def test_the_thread_ends_though_nothing_was_put() -> None:
    before = threading.active_count()
    with Sender(print, ahead=1):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_an_interrupt_does_not_end_the_wait_for_what_is_being_sent() -> None:
    """Python itself takes the thread to be over then."""
    sent = threading.Event()

    def send(one: int) -> None:
        time.sleep(0.5)
        sent.set()

    def received(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, received)
    try:
        with pytest.raises(KeyboardInterrupt), Sender(send, ahead=2) as sender:
            sender.put(1)
            time.sleep(0.1)
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            with contextlib.suppress(KeyboardInterrupt):
                sender.close()
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert sent.is_set()
            raise KeyboardInterrupt
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "websauna_migrate" not in {thread.name for thread in threading.enumerate()}


def test_one_that_was_not_dealt_with_comes_again() -> None:
    with Sender(lambda one: None, ahead=4) as sender:
        sender.put(1)
        sender.put(2)
        for one in sender.over(0):
            assert one == 1
            break
        assert list(sender.over(0)) == [1, 2]
        assert len(sender) == 0

"""Messages handled by hand: the block runs once, and again where it failed."""

from __future__ import annotations

import logging

import pytest

from dispatcher.receiver import MemoryStore, MessageRunning, Running, Standing, StoreUnavailable
from dispatcher.receiver.inbox import Inbox, once, retry_after_s

S = 1_000_000


class Unwilling(MemoryStore):
    """Claims, and then keeps nothing."""

    def finish(self, message_id: str, *, now_us: int) -> None:
        raise StoreUnavailable("the disk is full")

    def release(self, message_id: str, token: str) -> None:
        raise StoreUnavailable("the disk is full")


class Unreachable(MemoryStore):
    """Can't even claim."""

    def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
        raise StoreUnavailable("nobody is there")


def test_block_runs_once() -> None:
    """The second is told so."""
    store = MemoryStore()
    for expected in (True, False, False):
        with once(store, "m") as first:
            assert first is expected


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_block_that_fails_is_run_again(error: type[BaseException]) -> None:
    """By whatever it is left; the error goes on."""
    store = MemoryStore()
    with pytest.raises(error), once(store, "m"):
        raise error
    with once(store, "m") as first:
        assert first


def test_block_that_runs_is_no_duplicate_yet() -> None:
    """Nobody knows how it ends, so the sender has to ask again."""
    store = MemoryStore()
    with once(store, "m"), pytest.raises(MessageRunning) as caught, once(store, "m"):
        pass
    assert caught.value.retry_after_s == 1
    with once(store, "m") as first:
        assert not first


def test_duplicate_whose_block_fails_stays_one() -> None:
    """It has claimed nothing."""
    store = MemoryStore()
    with once(store, "m"):
        pass
    with pytest.raises(ValueError, match="late"), once(store, "m"):
        raise ValueError("late")
    with once(store, "m") as first:
        assert not first


def test_store_that_cannot_tell_lets_nobody_in() -> None:
    """The block does not run."""
    with pytest.raises(StoreUnavailable), once(Unreachable(), "m"):
        pytest.fail("it ran")


def test_store_that_cannot_keep_the_end_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was done is done: the sender had better not send it again. What failed, failed."""
    with caplog.at_level(logging.ERROR):
        with once(Unwilling(), "m1"):
            pass
        with pytest.raises(ValueError, match="mine"), once(Unwilling(), "m2"):
            raise ValueError("mine")
    assert "message m1 was handled, and may be again: the disk is full" in caplog.text
    assert "message m2 stays claimed for a while: the disk is full" in caplog.text


@pytest.mark.parametrize(
    ("for_s", "left_s", "asked_s"),
    [
        (0, 300, 1),
        (0.2, 299.8, 1),
        (1.5, 298.5, 2),
        (40, 260, 40),
        (299.5, 0.5, 1),
        (200, 100, 100),
    ],
)
def test_who_has_to_ask_again_asks_less_often_the_longer_it_runs(
    for_s: float, left_s: float, asked_s: int
) -> None:
    """So that the retries of a sender last, and never long after the lease."""
    assert retry_after_s(Running(int(for_s * S), int(left_s * S))) == asked_s


def test_ten_retries_last_longer_than_a_lease() -> None:
    """A process was killed in the middle: the message of a dispatcher is not given up before."""
    store, now_s, asked = MemoryStore(), 0.0, 0
    inbox = Inbox(store, clock=lambda: now_s)
    inbox.begin("m")
    while True:
        try:
            assert inbox.begin("m")
            break
        except MessageRunning as error:
            asked += 1
            now_s += max(error.retry_after_s, 2)
    assert asked <= 10
    assert now_s < 310


def test_lease_is_a_time() -> None:
    """Without one, two would handle a message at once."""
    with pytest.raises(ValueError, match="lease"), once(MemoryStore(), "m", lease_s=0):
        pass

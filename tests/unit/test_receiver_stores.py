"""Stores of handled messages: what every one does, and what happens to the file of SQLite."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dispatcher.receiver import (
    Claimed,
    Handled,
    MemoryStore,
    Running,
    SqliteStore,
    Standing,
    Store,
    StoreUnavailable,
)

S = 1_000_000
LEASE = 300 * S
KEEP_S = 1000
Make = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A store of each kind, keeping messages for 1000 s."""
    if request.param == "memory":
        return lambda: MemoryStore(keep_s=KEEP_S)
    return lambda: SqliteStore(tmp_path / "received.db", keep_s=KEEP_S)


@pytest.fixture
def store(make: Make) -> Store:
    return make()


def claim(store: Store, at_s: int = 0, *, by: str = "me", what: str = "m") -> Standing:
    return store.claim(what, by, now_us=at_s * S, lease_us=LEASE)


def test_a_message_is_claimed_once(store: Store) -> None:
    """The second is told for how long it has run, and how long its lease still holds."""
    assert claim(store) == Claimed()
    assert claim(store, 10, by="other") == Running(for_us=10 * S, left_us=290 * S)


def test_a_clock_that_went_back_is_no_negative_time(store: Store) -> None:
    """Somebody has set it."""
    claim(store, 10)
    assert claim(store, 5, by="other") == Running(for_us=0, left_us=305 * S)


def test_messages_do_not_stand_in_each_others_way(store: Store) -> None:
    """Each id is its own."""
    claim(store)
    assert claim(store, what="M") == Claimed()


def test_a_message_that_was_handled_is_a_duplicate(store: Store) -> None:
    """Also long after the lease."""
    claim(store)
    store.finish("m", now_us=S)
    assert claim(store, 500) == Handled()


def test_a_message_is_free_again_when_it_was_released(store: Store) -> None:
    """Its handler has failed."""
    claim(store)
    store.release("m", "me")
    assert claim(store, by="other") == Claimed()


def test_a_message_is_free_again_when_the_lease_is_over(store: Store) -> None:
    """Who had it was killed; not a microsecond before."""
    claim(store)
    assert store.claim("m", "b", now_us=LEASE - 1, lease_us=1) == Running(LEASE - 1, 1)
    assert store.claim("m", "b", now_us=LEASE, lease_us=1) == Claimed()


def test_who_comes_too_late_releases_nothing_of_another(store: Store) -> None:
    """The lease is over, and somebody else has it."""
    claim(store)
    claim(store, 300, by="other")
    store.release("m", "me")
    assert claim(store, 301) == Running(S, 299 * S)


def test_who_comes_late_has_handled_it_all_the_same(store: Store) -> None:
    """And the failure of who has it now frees nothing."""
    claim(store)
    claim(store, 300, by="other")
    store.finish("m", now_us=301 * S)
    store.release("m", "other")
    assert claim(store, 302) == Handled()


def test_a_message_is_forgotten_when_its_time_is_over(store: Store) -> None:
    """Counted from when it was handled last."""
    for at_s in (0, 10):
        claim(store, at_s)
        store.finish("m", now_us=at_s * S)
    assert claim(store, 1009) == Handled()
    assert claim(store, 1010) == Claimed()


def test_many_threads_get_each_message_once(store: Store) -> None:
    """However they fall together."""
    together = threading.Barrier(8)

    def work(number: int) -> int:
        together.wait()
        return sum(
            isinstance(claim(store, by=str(number), what=str(each)), Claimed) for each in range(50)
        )

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(work, range(8))) == 50


def test_memory_forgets_the_oldest_above_its_bound() -> None:
    """Not the one that was handled again just now."""
    store = MemoryStore(most=2)
    for what in ("a", "b", "a", "c"):
        store.finish(what, now_us=0)
    assert [claim(store, what=what) for what in "abc"] == [Handled(), Claimed(), Handled()]
    assert repr(store) == "<MemoryStore of 2, 1 running>"


def test_file_remembers_after_a_restart(tmp_path: Path) -> None:
    """What was handled, and what was claimed."""
    first = SqliteStore(tmp_path / "a.db")
    claim(first)
    claim(first, what="done")
    first.finish("done", now_us=0)
    first.close()
    first.close()
    second = SqliteStore(tmp_path / "a.db")
    assert claim(second, 1, by="other") == Running(S, 299 * S)
    assert claim(second, 1, what="done") == Handled()
    assert claim(first, 1, what="done") == Handled()  # opened again


def test_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    """Old rows go, some with each claim: those whose lease is over too."""
    store = SqliteStore(tmp_path / "a.db", keep_s=10)
    for each in range(100):
        claim(store, what=f"old {each}")
        if each % 2:
            store.finish(f"old {each}", now_us=0)
    for each in range(20):
        claim(store, 1000, what=f"new {each}")
    with sqlite3.connect(tmp_path / "a.db") as file:
        assert file.execute("SELECT count(*) FROM dispatcher_received_1").fetchone() == (20,)


def test_file_may_be_an_applications_own(tmp_path: Path) -> None:
    """Its tables are left alone."""
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute("CREATE TABLE orders (id)")
        file.execute("PRAGMA user_version = 7")
    claim(SqliteStore(tmp_path / "a.db"))
    with sqlite3.connect(tmp_path / "a.db") as file:
        assert file.execute("PRAGMA user_version").fetchone() == (7,)
        assert file.execute("SELECT * FROM orders").fetchall() == []


def test_file_that_is_no_database_is_told_at_once(tmp_path: Path) -> None:
    """With its name, when the store is made; and it stays as it is."""
    (tmp_path / "a.db").write_bytes(b"something else" * 100)
    with pytest.raises(StoreUnavailable, match=r"a\.db: file is not a database"):
        SqliteStore(tmp_path / "a.db")
    assert (tmp_path / "a.db").read_bytes() == b"something else" * 100


def test_file_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    """There is no such folder."""
    with pytest.raises(StoreUnavailable, match="unable to open"):
        SqliteStore(tmp_path / "no" / "a.db")


def test_file_that_is_locked_for_too_long_is_unavailable(tmp_path: Path) -> None:
    """Nothing is claimed, and it goes on once the file is free."""
    store = SqliteStore(tmp_path / "a.db", wait_s=0.01)
    with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as file:
        file.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="locked"):
                claim(store)
        file.execute("ROLLBACK")
    assert claim(store) == Claimed()
    assert repr(store) == f"<SqliteStore {tmp_path / 'a.db'}>"


def test_a_child_process_opens_the_file_for_itself(tmp_path: Path) -> None:
    """A server that forks after the application was made, and after it was used."""
    store = SqliteStore(tmp_path / "a.db")
    claim(store, what="parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            running = claim(store, what="parent", by="child")
            store.finish("child", now_us=0)
            store.close()
            status = 0 if isinstance(running, Running) else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    store.finish("parent", now_us=0)
    assert claim(store, what="child") == Handled()
    assert claim(SqliteStore(tmp_path / "a.db"), what="parent") == Handled()


def test_processes_fork_while_threads_use_the_file(tmp_path: Path) -> None:
    """No lock of a thread is left behind in the child, where there is no such thread."""
    store = SqliteStore(tmp_path / "a.db", wait_s=60)
    stopped = threading.Event()

    def work(number: int) -> int:
        done = 0
        while not stopped.is_set():
            assert claim(store, what=f"{number}-{done}") == Claimed()
            done += 1
        return done

    with ThreadPoolExecutor(3) as threads:
        working = [threads.submit(work, number) for number in range(3)]
        children = []
        for each in range(10):
            child = os.fork()
            if child == 0:
                _child(store, f"child {each}")
            children.append(child)
        stopped.set()
        assert all(each.result() > 0 for each in working)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 10
    for each in range(10):
        assert claim(store, what=f"child {each}") == Handled()


def _child(store: SqliteStore, what: str) -> None:
    status = 1
    try:
        claim(store, what=what)
        store.finish(what, now_us=0)
        store.close()
        status = 0
    finally:
        os._exit(status)


def test_file_is_opened_while_others_make_it(tmp_path: Path) -> None:
    """SQLite does not wait there by itself: who turns on the log comes first, or is refused."""
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    soon = threading.Timer(0.05, other.execute, ["ROLLBACK"])
    soon.start()
    assert claim(SqliteStore(tmp_path / "a.db", wait_s=60)) == Claimed()
    soon.join()
    other.close()


def test_claim_that_fails_in_the_middle_stands_in_nobodys_way(tmp_path: Path) -> None:
    """It is taken back whole."""
    store = SqliteStore(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as file:
        file.execute(
            "CREATE TRIGGER no BEFORE INSERT ON dispatcher_received_1 WHEN NEW.id = 'bad'"
            " BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    with pytest.raises(StoreUnavailable, match="no room"):
        claim(store, what="bad")
    assert claim(store, what="good") == Claimed()

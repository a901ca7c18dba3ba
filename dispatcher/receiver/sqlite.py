"""A store in a file of SQLite: for all processes of one machine, and for the time after them.

A claim is one transaction that takes the lock of writers at its start, so that of two processes one
comes second and sees what the first has written. That a message was handled is synced before the
answer goes out; a claim is not, because a machine that loses its power handles nothing.

A connection must not live through a fork: SQLite keeps in memory which locks its process holds, and
a child holds none of them. So a fork waits for the transactions under way, and closes the files.
Each process opens them again when it needs them.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakSet

from dispatcher.receiver.store import Claimed, Entry, Standing, StoreUnavailable, standing

KEEP_S: Final = 7 * 24 * 3600
WAIT_S: Final = 10
"""For other processes, at the most."""

_PAUSE_S: Final = 0.01
_FORGET: Final = 8
"""How many old rows a claim removes at most: more than it adds, and few enough to take no time."""

# The version of the table is a part of its name: the file may be an application's own.
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS dispatcher_received_1 (
    id TEXT NOT NULL PRIMARY KEY,
    token TEXT,
    since_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL
) WITHOUT ROWID
"""
_INDEX: Final = """
CREATE INDEX IF NOT EXISTS dispatcher_received_1_until ON dispatcher_received_1 (until_us)
"""
_OLD: Final = """
DELETE FROM dispatcher_received_1 WHERE id IN (
    SELECT id FROM dispatcher_received_1 WHERE until_us <= ? ORDER BY until_us LIMIT ?
)
"""
_FIND: Final = "SELECT token, since_us, until_us FROM dispatcher_received_1 WHERE id = ?"
_PUT: Final = "INSERT OR REPLACE INTO dispatcher_received_1 VALUES (?, ?, ?, ?)"
_FREE: Final = "DELETE FROM dispatcher_received_1 WHERE id = ? AND token = ?"


class SqliteStore:
    """Remembers what was handled for `keep_s` seconds, in the file `path`.

    The file has to be on a disk of this machine, not on a network's. It is made where there is
    none, with two more beside it (`-wal`, `-shm`). `wait_s` is how long one process waits for
    others at most.

    Raises:
        StoreUnavailable: the file can't be opened, or is no database.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, keep_s: float = KEEP_S, wait_s: float = WAIT_S
    ) -> None:
        self._path = Path(path).absolute()
        self._keep_us = round(keep_s * 1_000_000)
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        _stores.add(self)
        with self._translated(), self._lock:
            self._open().close()  # what is wrong with the file is told now

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path}>"

    def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
        """See `Store`."""
        with self._transaction("NORMAL") as connection:
            connection.execute(_OLD, (now_us, _FORGET))
            row = connection.execute(_FIND, (message_id,)).fetchone()
            found = standing(row and Entry(*row), now_us)
            if isinstance(found, Claimed):
                connection.execute(_PUT, (message_id, token, now_us, now_us + lease_us))
            return found

    def finish(self, message_id: str, *, now_us: int) -> None:
        """See `Store`."""
        with self._transaction("FULL") as connection:
            connection.execute(_PUT, (message_id, None, now_us, now_us + self._keep_us))

    def release(self, message_id: str, token: str) -> None:
        """See `Store`."""
        with self._transaction("NORMAL") as connection:
            connection.execute(_FREE, (message_id, token))

    def close(self) -> None:
        """Close the file. Idempotent; the next use opens it again."""
        with self._lock:
            self._close()

    def before_fork(self) -> None:
        """Let no transaction begin, and close the file."""
        self._lock.acquire()
        self._close()

    def after_fork(self) -> None:
        """Go on, in either process."""
        self._lock.release()

    @contextmanager
    def _transaction(self, synchronous: str) -> Iterator[sqlite3.Connection]:
        """All or nothing, and nobody else in between. With FULL it is on disk afterwards."""
        with self._translated(), _held(self._lock, self._wait_s):
            connection = self._connection = self._connection or self._open()
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        """Open the file. Turning on the write-ahead log is refused, not waited for, while others do
        the same: so it is tried again."""
        give_up_s = time.monotonic() + self._wait_s
        while True:
            connection = sqlite3.connect(
                self._path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(_TABLE)
                connection.execute(_INDEX)
            except sqlite3.OperationalError as error:
                connection.close()
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > give_up_s:
                    raise
                time.sleep(_PAUSE_S)
            except BaseException:
                connection.close()
                raise
            else:
                return connection


@contextmanager
def _held(lock: threading.Lock, wait_s: float) -> Iterator[None]:
    """Where the file is stuck, threads do not wait for each other's waiting too."""
    if not lock.acquire(timeout=wait_s):
        raise sqlite3.OperationalError("another thread waits for the file")
    try:
        yield
    finally:
        lock.release()


_stores: Final[WeakSet[SqliteStore]] = WeakSet()
_stopped: Final[list[SqliteStore]] = []
"""Those that a fork has stopped."""


def _before_fork() -> None:
    for store in list(_stores):
        store.before_fork()
        _stopped.append(store)


def _after_fork() -> None:
    while _stopped:
        _stopped.pop().after_fork()


if sys.platform != "win32":
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )

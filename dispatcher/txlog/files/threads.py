"""Threads that all logs of a process share: one that makes and removes segments, two that read.

A log has a thread of its own only for what must wait for nobody: its writer, and its opening, which
takes minutes of a long log. Making a segment and reading are short, and a process may have many
logs.

The threads are started before the first log is opened and stay: nothing that is asked of an open
log needs one more of what the process may lack.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_START_S: Final = 30.0
"""Threads that are not there by then do not come."""


class Threads:
    """So many threads of one name."""

    def __init__(self, name: str, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, name)
        self._count = count
        self._lock = threading.Lock()
        self._are_there = False

    def start(self) -> None:
        """Have all of them. Idempotent. Waits, so it is called off the loop.

        Raises RuntimeError, Python's word for a thread that cannot be started.
        """
        with self._lock:
            if self._are_there:
                return
            # Each job holds its thread until all are there: none gets a second one.
            together = threading.Barrier(self._count + 1)
            try:
                for _ in range(self._count):
                    self._executor.submit(_meet, together)
                together.wait(_START_S)
            except threading.BrokenBarrierError as error:
                raise RuntimeError(f"can't start {self._count} threads") from error
            except BaseException:
                together.abort()
                raise
            self._are_there = True

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have work done, in the order of the calls where there is one thread."""
        return self._executor.submit(work, *args, **kwargs)


def _meet(together: threading.Barrier) -> None:
    with suppress(threading.BrokenBarrierError):  # whoever starts them says so
        together.wait(_START_S)


HOUSEKEEPER: Final = Threads("txlog-housekeeper", 1)
READERS: Final = Threads("txlog-reader", 2)


class Share:
    """What one log has the shared threads do. Called from any thread."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._under_way: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """See `Threads`."""
        self._threads.start()

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have work done."""
        job = self._threads.submit(work, *args, **kwargs)
        with self._lock:
            self._under_way.add(job)
        job.add_done_callback(self._done)
        return job

    def _done(self, job: Future[T]) -> None:
        with self._lock:
            self._under_way.discard(job)

    def join(self) -> None:
        """Wait until nothing of this log's is under way."""
        with self._lock:
            under_way = tuple(self._under_way)
        wait(under_way)

"""Objects that live until the process has ended.

When an interpreter ends, it tears down what modules hold. A suspended coroutine is closed then: its
`finally` runs, outside of any loop, and complains. What the frame of a daemon thread holds is not
torn down.
"""

from __future__ import annotations

import threading
from typing import Final


class _Parked:
    def __init__(self) -> None:
        self._held: dict[int, object] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def hold(self, held: object) -> None:
        """Hold an object; again is once."""
        if id(held) in self._held and self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            self._held[id(held)] = held
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(
                    target=_park, args=(self._held,), name="dispatch-parked", daemon=True
                )
                self._thread.start()

    def let_go(self, held: object) -> None:
        """Hold it no longer."""
        with self._lock:
            self._held.pop(id(held), None)


def _park(held: dict[int, object]) -> None:
    threading.Event().wait()  # for ever; `held` stays in this frame


parked: Final = _Parked()

"""Watches the Python files under a directory, by looking at them again and again: that works on
every file system, and a few hundred files cost a few milliseconds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dispatcher.cli.local.happenings import Changed, Happenings

_EVERY_S: Final = 0.5
_SHARE: Final = 10
"""Looking takes one tenth of the time at most, however many files there are."""
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})

Stamps = Mapping[str, tuple[int, int]]
"""Of each file when it was written, in nanoseconds, and its size."""


def watch_files(directory: Path, happenings: Happenings) -> None:
    """Put files that change into the queue, one for each look. Returns at once."""
    threading.Thread(target=_watch, args=(directory, happenings), daemon=True).start()


def _watch(directory: Path, happenings: Happenings) -> None:
    before, took_s = stamps(directory), 0.0
    while True:
        time.sleep(max(_EVERY_S, _SHARE * took_s))
        began_s = time.monotonic()
        now = stamps(directory)
        took_s = time.monotonic() - began_s
        if (path := changed(before, now)) is not None:
            happenings.put(Changed(path))
        before = now


def stamps(directory: Path) -> Stamps:
    """Look at all Python files under a directory; hidden directories, and those that hold packages
    of others, are left out."""
    return dict(_stamps(directory))


def changed(before: Stamps, now: Stamps) -> str | None:
    """Return a file that was changed, made or removed; None where nothing was."""
    for path in sorted(before.keys() | now.keys()):
        if before.get(path) != now.get(path):
            return path
    return None


def _stamps(directory: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for place, folders, files in os.walk(directory):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _LEFT_OUT
            and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
        ]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(place, name)
                try:
                    found = os.stat(path)
                except OSError:
                    continue  # an editor replaces it just now
                yield os.path.relpath(path, directory), (found.st_mtime_ns, found.st_size)

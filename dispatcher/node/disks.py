"""How much is free on the disks of the logs, as of a few seconds ago."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes that this process may still use, and all that there are."""

    free_bytes: int
    total_bytes: int


class Disks:
    """`space` is by the name of the log (`log_names`); empty where nobody knows."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """`paths` are the directories of the logs; one that is not there yet has its parent's
        disk."""
        self.space: Mapping[str, Space] = {}
        self._paths = dict(paths)
        self._looking: asyncio.Future[Mapping[str, Space]] | None = None

    async def look(self) -> None:
        """Ask the disks, in a thread. One that does not answer holds up nobody: after two seconds
        nothing is known, until it has answered."""
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(None, self._spaces)
        done, _ = await asyncio.wait([self._looking], timeout=_PATIENCE_S)
        if not done:
            self.space = {}
            return
        looked, self._looking = self._looking, None
        self.space = looked.result()

    def _spaces(self) -> Mapping[str, Space]:
        found = {name: _space_of(path) for name, path in self._paths.items()}
        return {name: space for name, space in found.items() if space is not None}


def _space_of(path: Path) -> Space | None:
    for place in (path, path.parent):
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        return Space(usage.free, usage.total)
    return None

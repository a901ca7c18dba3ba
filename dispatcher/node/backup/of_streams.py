"""Backups of a node in a cluster, which makes none: its logs are streams, and whoever has those
copies them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dispatcher.api.backups import BackupState, BackupView
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin.course import Course

OF_STREAMS: Final = Refusal(
    409,
    "backup_of_streams",
    "In a cluster the logs are streams of NATS, each on three servers; copy all of them, for "
    "example with `nats account backup`.",
)


class NoBackups:
    """Implements `api.backups.Backups`."""

    view: Final = BackupView(BackupState.NONE)

    async def start(self, directory: Path, course: Course) -> BackupView:
        """See `Backups`."""
        raise Refused(OF_STREAMS)

    async def stop(self) -> BackupView:
        """See `Backups`: there is none."""
        return self.view

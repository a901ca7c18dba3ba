"""Backups that copy nothing: the twin of `node.backup.making.Backups` for tests of the API and the
command line."""

from __future__ import annotations

from pathlib import Path

from dispatcher.api.backups import BackupState, BackupView
from dispatcher.errors import Refusal, Refused
from dispatcher.queue.admin.course import Course


class MemoryBackups:
    """`refusal` is raised by `start`; each look at `view` copies one part of `share`, and the end
    is `result` with `error`. `looks` and `stops` are counted."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.result = BackupState.MADE
        self.error: str | None = None
        self.share = 10
        self.looks = 0
        self.stops = 0
        self._view = BackupView(BackupState.NONE)
        self._course = Course()

    @property
    def view(self) -> BackupView:
        """See `api.backups.Backups`."""
        self.looks += 1
        view = self._view
        if view.state is BackupState.RUNNING:
            view = view.copied(view.total_bytes // self.share)
            self._course.did(view.total_bytes // self.share)
            if view.copied_bytes >= view.total_bytes:
                view = view.ended(self.result, 1_000_000, self.error)
            self._view = view
        return view

    async def start(self, directory: Path, course: Course) -> BackupView:
        """See `api.backups.Backups`."""
        if self.refusal is not None:
            raise Refused(self.refusal)
        self._view = BackupView(
            BackupState.RUNNING, directory=str(directory), total_bytes=1000, started_at_us=0
        )
        self._course = course
        course.total = self._view.total_bytes
        return self._view

    async def stop(self) -> BackupView:
        """See `api.backups.Backups`."""
        self.stops += 1
        if self._view.state is BackupState.RUNNING:
            self._view = self._view.ended(BackupState.STOPPED, 1_000_000, None)
        return self._view

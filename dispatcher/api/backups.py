"""Calls about backups: `/v1/backup`. One is made at a time, as a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from pydantic import Field

from dispatcher.api.audit import Action, Audit
from dispatcher.api.errors import ApiError
from dispatcher.api.fields import InstantOut
from dispatcher.api.jobs.job import Job, JobKind, Unit
from dispatcher.api.jobs.running import Jobs
from dispatcher.api.models import Input, Nothing, Output
from dispatcher.api.routes import AnyRoute, Asked, Route
from dispatcher.queue.admin.surface import Course

_LOOK_SECONDS: Final = 0.1
"""How often the job of a backup looks at it."""


class BackupState(Enum):
    """What became of a backup; the value is the API's word."""

    NONE = "none"
    RUNNING = "running"
    MADE = "made"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class BackupView:
    """The backup that is being made, or the last one since the start of the process. Instants are
    microseconds since the epoch."""

    state: BackupState
    directory: str | None = None
    copied_bytes: int = 0
    total_bytes: int = 0
    started_at_us: int | None = None
    ended_at_us: int | None = None
    error: str | None = None

    def copied(self, size_bytes: int) -> BackupView:
        """Return how it is when so much more was copied."""
        return replace(self, copied_bytes=self.copied_bytes + size_bytes)

    def ended(self, state: BackupState, at_us: int, error: str | None) -> BackupView:
        """Return how it ended."""
        return replace(self, state=state, ended_at_us=at_us, error=error)


class Backups(Protocol):
    """Who makes backups."""

    @property
    def view(self) -> BackupView:
        """The one that is being made, or the last one."""

    async def start(self, directory: Path, course: Course) -> BackupView:
        """Begin one, whose bytes are counted in the course and copied at its rate. Raises
        Refused."""

    async def stop(self) -> BackupView:
        """End the one that is being made."""


class BackupWanted(Input):
    """Where a backup is to be made."""

    directory: str = Field(
        min_length=1,
        max_length=4096,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Absolute path on the server's machine: a directory that is new or empty.",
    )


class Backup(Output):
    """A backup of the logs, as they were at `started_at`."""

    state: BackupState = Field(
        description="`none`: there was none since the start of the process; `made`: it is whole."
    )
    directory: str | None
    copied_bytes: int
    total_bytes: int
    started_at: InstantOut | None = Field(validation_alias="started_at_us")
    ended_at: InstantOut | None = Field(validation_alias="ended_at_us")
    error: str | None = Field(description="Why it failed. What there was of it is removed.")
    job: str | None = Field(None, description="The id of the job that makes it, or made it.")


class BackupCalls:
    """Make a backup, look how far it is, stop it."""

    def __init__(self, backups: Backups, audit: Audit, jobs: Jobs) -> None:
        self._backups = backups
        self._audit = audit
        self._jobs = jobs
        self._job: Job | None = None

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "POST", "/v1/backup", self._start, "startBackup",
                "Begin a backup of the logs as they are now",
                Nothing, Nothing, BackupWanted, status=202, answer=Backup,
                refusals={
                    400: "The directory cannot be used: `backup_directory`.",
                    409: "One is being made: `backup_running`.",
                    503: "The log failed: `log_failed`.",
                },
            ),
            Route(
                "GET", "/v1/backup", self._show, "showBackup",
                "The backup that is being made, or the last one",
                Nothing, Nothing, Nothing, answer=Backup,
            ),
            Route(
                "DELETE", "/v1/backup", self._stop, "stopBackup",
                "Stop the backup that is being made, and remove what there is of it",
                Nothing, Nothing, Nothing, answer=Backup,
            ),
        ]  # fmt: skip

    async def _start(self, asked: Asked[Nothing, Nothing, BackupWanted]) -> Backup:
        with self._audit.acting(Action.BACKUP_BEGUN, asked.body.model_dump()) as told:
            course = Course()
            view = await self._backups.start(Path(asked.body.directory), course)
            try:
                self._job = self._jobs.begin(
                    JobKind.BACKUP,
                    None,
                    asked.body.model_dump(),
                    self._follow,
                    course=course,
                    unit=Unit.BYTES,
                )
            except ApiError:
                await self._backups.stop()
                raise
            told.count, told.job = 1, self._job.id
        return self._told(view)

    async def _follow(self, course: Course) -> Backup:
        """See it to its end, or end it."""
        while (view := self._backups.view).state is BackupState.RUNNING:
            if not await course.rest(_LOOK_SECONDS):
                view = await self._backups.stop()
                break
        if view.state is BackupState.STOPPED:
            course.cut()
        elif view.state is BackupState.MADE:
            course.finish()  # its last step was under way as it was cancelled
        elif view.state is BackupState.FAILED:
            raise ApiError(500, "backup_failed", f"{view.error}. What there was of it is removed.")
        return self._told(view)

    def _told(self, view: BackupView) -> Backup:
        job = None if self._job is None else self._job.id
        return Backup.model_validate(view).model_copy(update={"job": job})

    async def _show(self, _: Asked[Nothing, Nothing, Nothing]) -> Backup:
        return self._told(self._backups.view)

    async def _stop(self, _: Asked[Nothing, Nothing, Nothing]) -> Backup:
        was_running = self._backups.view.state is BackupState.RUNNING
        with self._audit.acting(Action.BACKUP_STOPPED, {}) as told:
            view = await self._backups.stop()
            told.count = int(was_running)
        return self._told(view)

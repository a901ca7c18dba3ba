"""One job: what it does, and what has become of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from pydantic import BaseModel

from dispatcher.queue.admin.course import Course


class JobKind(StrEnum):
    """What a job does; the value is the API's word."""

    REDRIVE = "redrive"
    PURGE = "purge"
    REPLAY = "replay"
    BACKUP = "backup"
    EXPORT = "export"
    IMPORT = "import"
    CANCEL = "cancel"
    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    REDIRECT = "redirect"
    COUNT = "count"


class JobState(Enum):
    """What became of it; the value is the API's word."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Unit(Enum):
    """What is counted; the value is the API's word."""

    MESSAGES = "messages"
    BYTES = "bytes"


@dataclass(eq=False, slots=True)
class Job:
    """A job, on the event loop's thread. Instants are microseconds since the epoch.

    `selection` is what the audit tells, `key` the name of the key that began it; None: there are no
    keys. `has_rate` says whether its rate can be changed. `answer` is what was promised to who
    waits for it, `failure` why there is none. `told_of` is the slug and the message of that.
    `answer_bytes` is what the answer of one that has ended takes in memory, about; `is_awaited`
    says that somebody waits for it, `is_forgotten` that it was too large to keep.
    """

    id: str
    kind: JobKind
    selection: Mapping[str, object]
    key: str | None
    course: Course
    unit: Unit
    has_rate: bool
    started_at_us: int
    ended_at_us: int | None = None
    state: JobState = JobState.RUNNING
    answer: BaseModel | None = None
    failure: Exception | None = None
    answer_bytes: int = 0
    is_awaited: bool = False
    is_forgotten: bool = False
    told_of: tuple[str, str] | None = None
    task: asyncio.Task[Any] | None = field(default=None, repr=False)
    ended: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.state is JobState.RUNNING

    @property
    def survives_restart(self) -> bool:
        """Whether it goes on by itself after a restart: no job does yet."""
        return False

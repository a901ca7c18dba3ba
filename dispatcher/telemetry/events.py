"""Everything that is logged: the one list of events.

An event is a method of `Events`: its name is `noun.verbed`, its level says who needs it, its
keyword arguments are the fields of the line, and its docstring is what docs/events.md says of it.
Levels: what goes well is `debug`, a failed attempt `info`, a dead letter `warning`, what a person
must act on `error`; the life of the process is `info`.

Instants are text (RFC 3339), durations and sizes have their unit in their name. No field ever holds
a body, a key or the credentials of a URL.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec

from structlog.typing import FilteringBoundLogger

from dispatcher.telemetry.log import Level

_Fields = ParamSpec("_Fields")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the list: what docs/events.md shows."""

    name: str
    level: Level
    fields: tuple[str, ...]
    meaning: str


_EVENTS: list[Event] = []


def _event(
    level: Level, name: str
) -> Callable[
    [Callable[Concatenate[Events, _Fields], None]], Callable[Concatenate[Events, _Fields], None]
]:
    """Make a method of a signature and a docstring log an event of that level and name."""

    def make(
        declared: Callable[Concatenate[Events, _Fields], None],
    ) -> Callable[Concatenate[Events, _Fields], None]:
        fields = tuple(inspect.signature(declared).parameters)[1:]
        meaning = " ".join((declared.__doc__ or "").split())
        _EVENTS.append(Event(name, level, fields, meaning))

        def log(self: Events, /, *args: _Fields.args, **fields: _Fields.kwargs) -> None:
            getattr(self._log, level)(name, **fields)

        log.__doc__ = declared.__doc__
        return log

    return make


class Events:
    """Logs events. Calls below the level of the log do nothing.

    `is_debug` says whether debug events are written: what happens with every message asks it first,
    because even a call that does nothing has to gather its arguments.
    """

    __slots__ = ("_log", "is_debug")

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.is_debug = log.is_enabled_for(logging.DEBUG)

    # The process

    @_event("info", "server.starting")
    def server_starting(self, *, version: str, pid: int, settings: Mapping[str, object]) -> None:
        """The server starts. `settings` holds every setting in force, secrets hidden."""

    @_event("info", "server.ready")
    def server_ready(
        self, *, listen: Sequence[str], api_listen: str, pending: int, took_ms: int
    ) -> None:
        """The server accepts messages at the addresses `listen`, and delivers the `pending` ones
        that were in the log."""

    @_event("info", "server.stopping")
    def server_stopping(self, *, signal: str, in_flight: int) -> None:
        """A signal came: nothing is accepted any more, attempts in flight have `DRAIN_TIMEOUT`."""

    @_event("warning", "server.abandoned")
    def server_abandoned(self, *, in_flight: int) -> None:
        """Attempts were still in flight when `DRAIN_TIMEOUT` was over or a second signal came. They
        are made again after the next start."""

    @_event("info", "server.stopped")
    def server_stopped(self, *, exit_code: int, pending: int) -> None:
        """The last line. `pending` messages are in the log for the next start."""

    @_event("error", "server.crashed")
    def server_crashed(self, *, exc_info: BaseException) -> None:
        """The server met an error that nobody foresaw, and ends with exit code 1. `exception` is
        the traceback; please report it."""

    @_event("warning", "library.warned")
    def library_warned(self, *, logger: str, text: str, exc_info: BaseException | None) -> None:
        """A library the server is built on logged a warning or an error."""

    # The logs on disk

    @_event("info", "log.opened")
    def log_opened(self, *, path: str, messages: int, size_bytes: int, took_ms: int) -> None:
        """A log was read and is intact; `messages` in it are not settled."""

    @_event("warning", "log.torn_tail_cut")
    def log_torn_tail_cut(self, *, path: str, position: int, size_bytes: int, backup: str) -> None:
        """The end of a log was incomplete, as a crash leaves it, and was cut off; `backup` holds a
        copy. Nothing that was answered 202 is lost."""

    @_event("error", "log.disk_full")
    def log_disk_full(self, *, path: str) -> None:
        """There is no space left for this log, make some. Without space for the transaction log
        callers get 503 and deliveries go on; without space for the dead-letter log what is given up
        waits in memory."""

    @_event("info", "log.space_again")
    def log_space_again(self, *, path: str) -> None:
        """There is space again for this log, and everything goes on by itself."""

    @_event("error", "log.failed")
    def log_failed(self, *, path: str, reason: str) -> None:
        """A write or a sync failed. The process ends with exit code 1; the next start recovers what
        is on disk. Look at the disk first."""

    @_event("error", "message.body_lost")
    def message_body_lost(self, *, path: str, id: str, destination: str) -> None:
        """A part of this message's body was in a damaged part of a log that was repaired: it is not
        delivered, and not kept as a dead letter. Tell whoever sent it."""

    # Messages

    @_event("debug", "message.accepted")
    def message_accepted(self, *, id: str, method: str, destination: str, size_bytes: int) -> None:
        """A message is durable and was answered 202."""

    @_event("debug", "message.delivered")
    def message_delivered(
        self, *, id: str, destination: str, attempt: int, status: int, duration_ms: int
    ) -> None:
        """A destination answered a message with success."""

    @_event("info", "attempt.finished")
    def attempt_finished(
        self,
        *,
        id: str,
        destination: str,
        attempt: int,
        status: int | None,
        error: str | None,
        detail: str,
        duration_ms: int,
        next_attempt_at: str | None,
    ) -> None:
        """An attempt was not a success. `next_attempt_at` is null when there is no other."""

    @_event("warning", "message.dead_lettered")
    def message_dead_lettered(
        self,
        *,
        id: str,
        destination: str,
        attempts: int,
        reason: str,
        last_status: int | None,
        last_error: str | None,
    ) -> None:
        """A message was given up and is in the dead-letter log. `reason` is `retries_exhausted`,
        `rejected` or `egress_denied`."""

    @_event("warning", "dead_letters.dropped")
    def dead_letters_dropped(self, *, count: int, reason: str) -> None:
        """Dead letters are gone for good: they were older than `DEAD_LETTER_RETENTION` (`age`), or
        the oldest of more than `DEAD_LETTER_MAX_BYTES` (`bytes`)."""

    @_event("info", "destination.paused")
    def destination_paused(self, *, destination: str, until: str, reason: str) -> None:
        """Nothing is sent to a destination for a while, because it failed again and again
        (`breaker`) or asked for it (`retry_after`). Its messages wait and spend no attempts."""

    @_event("info", "destination.resumed")
    def destination_resumed(self, *, destination: str) -> None:
        """A destination that was paused answers again."""

    # The API

    @_event("error", "api.failed")
    def api_failed(self, *, method: str, path: str, exc_info: BaseException) -> None:
        """A request to the API met an error that nobody foresaw and was answered 500. `exception`
        is the traceback; please report it."""


EVENTS: tuple[Event, ...] = tuple(_EVENTS)
"""The list, in the order of the class."""

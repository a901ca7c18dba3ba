"""From what happens in the queue to the lines of the log, and to spans where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypedDict

from dispatcher.core.instants import rfc3339
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, beyond
from dispatcher.queue.ports import LogName
from dispatcher.telemetry.events import Events

if TYPE_CHECKING:  # OpenTelemetry is there only where it is asked for
    from dispatcher.telemetry.tracing import Spans


class Heard(Protocol):
    """Who is told of these too, in the words of `queue.ports.Observer`; returns at once."""

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """A message was given up."""

    def call_dead_lettered(
        self,
        call_id: bytes,
        endpoint: str,
        function: str,
        *,
        attempts: int,
        reason: str,
        error: str | None,
    ) -> None:
        """A call was given up."""

    def letters_dropped(self, count: int, why: str) -> None:
        """Dead letters are gone for good."""


class Hearing:
    """Who is told too of what somebody may have to be told of: nobody, or one at a time. All
    observers of a process have the same."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        self.heard: Heard | None = None


class EventObserver:
    """Writes events for the queue (`queue.ports.Observer`). With `spans`, what goes well is wanted
    at every level of the log."""

    def __init__(
        self,
        events: Events,
        *,
        paths: Mapping[LogName, str],
        on_log_failed: Callable[[], None],
        spans: Spans | None = None,
        hearing: Hearing | None = None,
        of_streams: bool = False,
    ) -> None:
        """`of_streams`: the logs are on other machines."""
        self.is_debug = events.is_debug or spans is not None
        self._of_streams = of_streams
        self._hearing = hearing or Hearing()
        self._events = events
        self._spans = spans
        self._paths = paths
        self._on_log_failed = on_log_failed

    def accepted(self, message: Message) -> None:
        """Only called where `is_debug` is True."""
        if self._spans is not None:
            self._spans.accepted(message)
        if self._events.is_debug:
            self._events.message_accepted(
                id=message.wire_id.decode("ascii"),
                method=message.method,
                destination=str(message.destination),
                size_bytes=message.body_size,
                **_label(message),
            )

    def delivered(self, message: Message, status: int, duration_ms: int) -> None:
        """Only called where `is_debug` is True."""
        if self._spans is not None:
            self._spans.delivered(message, status)
        if self._events.is_debug:
            self._events.message_delivered(
                id=message.wire_id.decode("ascii"),
                destination=str(message.destination),
                attempt=message.attempt,
                status=status,
                duration_ms=duration_ms,
                **_label(message),
            )

    def attempt_failed(
        self, message: Message, result: AttemptResult, retry_at_us: int | None
    ) -> None:
        """An attempt was not a success."""
        if self._spans is not None:
            self._spans.failed(message, result, is_last=retry_at_us is None)
        self._events.attempt_finished(
            id=message.wire_id.decode("ascii"),
            destination=str(message.destination),
            attempt=message.attempt,
            status=result.status,
            error=_error(result),
            detail=beyond(result.status, result.failure, result.detail),
            duration_ms=result.duration_ms,
            next_attempt_at=None if retry_at_us is None else rfc3339(retry_at_us),
            **_label(message),
        )

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """A message was given up."""
        self._events.message_dead_lettered(
            id=message.wire_id.decode("ascii"),
            destination=str(message.destination),
            attempts=message.attempt,
            reason=reason,
            last_status=result.status,
            last_error=_error(result),
            **_label(message),
        )
        if (heard := self._hearing.heard) is not None:
            heard.dead_lettered(message, reason, result)

    def call_dead_lettered(
        self,
        call_id: bytes,
        endpoint: str,
        function: str,
        *,
        attempts: int,
        reason: str,
        error: str | None,
    ) -> None:
        """A call was given up."""
        self._events.call_dead_lettered(
            id=call_id.decode("ascii"),
            endpoint=endpoint,
            function=function,
            attempts=attempts,
            reason=reason,
            last_error=error,
        )
        if (heard := self._hearing.heard) is not None:
            heard.call_dead_lettered(
                call_id, endpoint, function, attempts=attempts, reason=reason, error=error
            )

    def letter_too_large(self, letter_id: bytes, destination: bytes, size_bytes: int) -> None:
        """A dead letter is not stored."""
        self._events.dead_letter_too_large(
            id=letter_id.decode("ascii"),
            destination=destination.decode("utf-8", "replace"),
            size_bytes=size_bytes,
        )

    def letters_dropped(self, count: int, why: str) -> None:
        """Dead letters are gone for good."""
        self._events.dead_letters_dropped(count=count, reason=why)
        if (heard := self._hearing.heard) is not None:
            heard.letters_dropped(count, why)

    def keys_dropped(self, count: int) -> None:
        """Idempotency keys are forgotten early."""
        self._events.idempotency_keys_dropped(count=count)

    def lane_backed_off(
        self, destination: str, until_us: int, why: str, result: AttemptResult
    ) -> None:
        """Nothing is sent to a destination for a while."""
        until = rfc3339(until_us)
        if why == "breaker":
            self._events.destination_breaker_opened(
                destination=destination,
                until=until,
                last_status=result.status,
                last_error=_error(result),
                detail=beyond(result.status, result.failure, result.detail),
            )
        else:
            self._events.destination_backed_off(destination=destination, until=until, reason=why)

    def lane_reopened(self, destination: str) -> None:
        """A destination answers again."""
        self._events.destination_reopened(destination=destination)

    def body_lost(self, log: LogName, message_id: bytes, destination: bytes) -> None:
        """A message has lost a part of its body."""
        self._events.message_body_lost(
            path=self._paths[log],
            id=message_id.decode("ascii"),
            destination=destination.decode("utf-8", "replace"),
        )

    def space_changed(self, log: LogName, full: bool) -> None:
        """The disk of a log became full, or has space again."""
        if full:
            self._events.log_disk_full(path=self._paths[log])
        else:
            self._events.log_space_again(path=self._paths[log])

    def partition_lost(self, partition: int, error: Exception) -> None:
        """The others go on."""
        self._events.partition_lost(partition=partition, reason=str(error))

    def died(self, name: str, error: BaseException) -> None:
        """A mistake in this program."""
        self._events.task_died(task=name, exc_info=error)

    def log_slow(self, log: LogName, waiting_s: float) -> None:
        """A sync takes long."""
        if not self._of_streams:  # a moment later it is late, or has answered
            self._events.log_sync_slow(path=self._paths[log], waiting_ms=int(waiting_s * 1000))

    def log_stalled(self, log: LogName, waiting_s: float) -> None:
        """A sync does not return."""
        tell = self._events.log_late if self._of_streams else self._events.log_disk_stalled
        tell(path=self._paths[log], waiting_ms=int(waiting_s * 1000))

    def log_moves(self, log: LogName, waited_s: float) -> None:
        """It has returned."""
        tell = self._events.log_answers if self._of_streams else self._events.log_disk_moves
        tell(path=self._paths[log], waited_ms=int(waited_s * 1000))

    def log_failed(self, log: LogName, error: Exception) -> None:
        """The process must end."""
        self._events.log_failed(path=self._paths[log], reason=str(error))
        self._on_log_failed()


def _error(result: AttemptResult) -> str | None:
    return None if result.failure is None else result.failure.value


class _Label(TypedDict, total=False):
    """A field that is there where a message has a label."""

    label: str


def _label(message: Message) -> _Label:
    return {"label": message.label} if message.label else {}

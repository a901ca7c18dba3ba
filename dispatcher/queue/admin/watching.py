"""What happens in the queue, for whoever wants to see it live.

Stands before the observer that writes the log, and passes everything on. While nobody watches, and
the log is not at `debug`, messages that go well are not spoken of at all (`is_wanted`).
"""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.core.clock import Clock
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.queue.admin.surface import Event, LetterKind, Listener
from dispatcher.queue.ports import Observer
from dispatcher.queue.records.dead_calls import CallLetter


class Watch:
    """The observers of one queue. `is_wanted` is asked for every message."""

    __slots__ = ("_clock", "_listeners", "_observer", "is_wanted")

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self._listeners: list[Listener] = []
        self.is_wanted = observer.is_debug

    @property
    def has_listeners(self) -> bool:
        """Whether anybody watches."""
        return bool(self._listeners)

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every event from now on."""
        self._listeners.append(listener)
        self.is_wanted = True

    def unsubscribe(self, listener: Listener) -> None:
        """No more. Idempotent."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        self.is_wanted = self._observer.is_debug or bool(self._listeners)

    def accepted(self, message: Message) -> None:
        """A message is durable. Only called while `is_wanted`."""
        if self._observer.is_debug:
            self._observer.accepted(message)
        self._tell(
            "accepted",
            message,
            {"method": message.method, "target": message.target, "size_bytes": message.body_size},
        )

    def delivered(self, message: Message, status: int, duration_ms: int) -> None:
        """A message is done. Only called while `is_wanted`."""
        if self._observer.is_debug:
            self._observer.delivered(message, status, duration_ms)
        fields = {"attempt": message.attempt, "status": status, "duration_ms": duration_ms}
        self._tell("attempted", message, {**fields, "error": None, "next_attempt_at": None})
        self._tell("delivered", message, fields)

    def attempt_failed(
        self, message: Message, result: AttemptResult, retry_at_us: int | None
    ) -> None:
        """An attempt was not a success; None: there is no other."""
        self._observer.attempt_failed(message, result, retry_at_us)
        if self._listeners:
            self._tell(
                "attempted",
                message,
                {
                    "attempt": message.attempt,
                    "status": result.status,
                    "duration_ms": result.duration_ms,
                    "error": None if result.failure is None else result.failure.value,
                    "next_attempt_at": retry_at_us,
                },
            )

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """A message was given up; its dead letter is durable."""
        self._observer.dead_lettered(message, reason, result)
        if self._listeners:
            self._tell("dead", message, {"reason": reason, "attempts": message.attempt})

    def call_dead_lettered(self, letter: CallLetter) -> None:
        """A root call was given up; its dead letter is durable."""
        self._observer.call_dead_lettered(
            letter.id,
            letter.endpoint,
            letter.function,
            attempts=letter.attempts,
            reason=letter.reason.value,
            error=letter.error,
        )
        if self._listeners:
            self._tell_of(
                "dead",
                letter.id,
                letter.endpoint,
                {
                    "reason": letter.reason.value,
                    "attempts": letter.attempts,
                    "kind": LetterKind.CALL,
                    "function": letter.function,
                },
            )

    def call_happened(
        self, what: str, call_id: str, endpoint: str, fields: Mapping[str, object]
    ) -> None:
        """Something happened to a call, in a word. Only called while there `has_listeners`."""
        self._tell_of(f"call.{what}", call_id.encode("ascii"), endpoint, fields)

    def _tell(self, kind: str, message: Message, fields: Mapping[str, object]) -> None:
        if self._listeners:
            if message.label:
                fields = {**fields, "label": message.label}
            self._tell_of(kind, message.wire_id, str(message.destination), fields)

    def _tell_of(
        self, kind: str, message_id: bytes, destination: str, fields: Mapping[str, object]
    ) -> None:
        event = Event(kind, self._clock.now_us(), message_id.decode("ascii"), destination, fields)
        for listener in tuple(self._listeners):
            listener(event)

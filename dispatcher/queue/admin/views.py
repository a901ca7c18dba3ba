"""Messages and dead letters as operators are shown them. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence

from dispatcher.core.calls import status_word
from dispatcher.core.message import Message
from dispatcher.core.options import TIMEOUT, written
from dispatcher.core.outcome import beyond, cause
from dispatcher.core.units import duration_text
from dispatcher.protocol.statuses import Status
from dispatcher.queue.admin.surface import (
    AttemptView,
    CallDetail,
    LetterDetail,
    LetterKind,
    LetterView,
    MessageState,
    MessageView,
)
from dispatcher.queue.flow.recent import Past
from dispatcher.queue.records.dead_calls import CallLetter
from dispatcher.queue.records.either import AnyLetter
from dispatcher.queue.records.history import Attempt, decode_history, last_attempt
from dispatcher.queue.records.letters import DeadLetter, last_of


def dead_view(letter: DeadLetter) -> MessageView:
    """A message that is dead: its last error is that of its letter."""
    message = letter.message
    return _message_view(message, MessageState.DEAD, message.attempt, None, last_of(letter))


def pending_view(
    message: Message, state: MessageState, attempts: int, due_us: int | None
) -> MessageView:
    """A message that is pending; `due_us` is when its next attempt is due, if it waits for one.

    The first one is never shown as due before the instant that was asked for: `due_us` was carried
    from one clock to another and back, which takes microseconds.
    """
    if due_us is not None and message.terms is not None and not message.attempt:
        due_us = max(due_us, message.terms.not_before_us)
    return _message_view(message, state, attempts, due_us, last_attempt(message.history))


def _message_view(
    message: Message,
    state: MessageState,
    attempts: int,
    due_us: int | None,
    last: Attempt | None,
) -> MessageView:
    return MessageView(
        id=message.wire_id.decode("ascii"),
        state=state,
        destination=str(message.destination),
        method=message.method,
        target=message.target,
        accepted_at_us=message.accepted_at,
        attempts=attempts,
        next_attempt_at_us=due_us,
        last_error=cause(last.status, last.failure) if last else None,
        label=message.label or None,
        options=_options(message),
        size_bytes=message.body_size,
    )


def _options(message: Message) -> dict[str, str]:
    """What is stored of its options; a timeout is not among its terms."""
    if not message.timeout_ms:
        return written(message.terms)
    return {TIMEOUT.key: duration_text(message.timeout_ms), **written(message.terms)}


def past_view(message_id: str, past: Past) -> MessageView:
    """A message that was delivered."""
    method, target, _ = past.request_line.decode("ascii").split(" ")
    return MessageView(
        id=message_id,
        state=MessageState.DELIVERED,
        destination=past.destination.decode("ascii"),
        method=method,
        target=target,
        accepted_at_us=past.accepted_at,
        attempts=past.attempts,
        next_attempt_at_us=None,
        last_error=None,
        label=None if past.terms is None else past.terms.label or None,
        options=written(past.terms),
    )


def letter_view(letter: AnyLetter) -> LetterView:
    """A dead letter as it is listed."""
    if isinstance(letter, CallLetter):
        return _call_view(letter)
    message = letter.message
    last = last_of(letter)
    return LetterView(
        id=message.wire_id.decode("ascii"),
        destination=str(message.destination),
        method=message.method,
        target=message.target,
        accepted_at_us=message.accepted_at,
        dead_at_us=letter.dead_at,
        attempts=message.attempt,
        last_status=last.status if last else None,
        last_error=cause(last.status, last.failure) if last else None,
        reason=letter.reason,
        size_bytes=message.body_size,
        label=message.label or None,
        options=_options(message),
    )


def letter_detail(letter: AnyLetter, body: AsyncIterable[bytes]) -> LetterDetail:
    """All of a dead letter."""
    if isinstance(letter, CallLetter):
        return _call_detail(letter, body)
    message = letter.message
    last = last_of(letter)
    return LetterDetail(
        letter_view(letter),
        headers=headers_of(message),
        body=body,
        detail=beyond(last.status, last.failure, letter.detail) if last else letter.detail,
        redrives=message.redrives,
        history=attempt_views(letter),
    )


def headers_of(message: Message) -> list[tuple[bytes, bytes]]:
    """Names and values of the request, as they will be sent."""
    pairs = [line.partition(b":") for line in message.head.split(b"\r\n")[1:-1]]
    return [(name, value.strip(b" \t")) for name, _, value in pairs]


def _call_view(letter: CallLetter) -> LetterView:
    return LetterView(
        id=letter.id.decode("ascii"),
        destination=letter.endpoint,
        method="",
        target="",
        accepted_at_us=letter.created_at,
        dead_at_us=letter.dead_at,
        attempts=letter.attempts,
        last_status=None,
        last_error=letter.error,
        reason=letter.reason.value,
        size_bytes=letter.body_size,
        kind=LetterKind.CALL,
        function=letter.function,
    )


def _call_detail(letter: CallLetter, body: AsyncIterable[bytes]) -> LetterDetail:
    return LetterDetail(
        _call_view(letter),
        headers=[],
        body=body,
        detail=letter.detail,
        redrives=letter.redrives,
        history=_run_views(letter),
        call=CallDetail(
            letter.application,
            letter.version,
            letter.correlation,
            letter.expiration_us // 1000,
            letter.timeout_ms,
            letter.error_type,
        ),
    )


def _run_views(letter: CallLetter) -> Sequence[AttemptView]:
    """The runs of a dead call that its history has, first to last."""
    history = decode_history(letter.history)
    return [
        AttemptView(number, one.started_at, one.duration_ms, one.status, _error_of(one), None)
        for number, one in enumerate(history, max(0, letter.attempts - len(history)) + 1)
    ]


def _error_of(run: Attempt) -> str | None:
    if run.failure is not None:
        return run.failure.value
    return None if run.call_status == Status.OK else status_word(run.call_status)


def attempt_views(letter: DeadLetter) -> list[AttemptView]:
    """The attempts of a dead letter that its history has, first to last."""
    message = letter.message
    history = decode_history(message.history)
    return [
        AttemptView(
            number,
            one.started_at,
            one.duration_ms,
            one.status,
            None if one.failure is None else one.failure.value,
            letter.response_start if number == message.attempt and one.status else None,
        )
        for number, one in enumerate(history, message.attempt - len(history) + 1)
    ]

"""Messages, dead letters and dead calls as operators see them, each with a number in its id."""

from __future__ import annotations

from collections.abc import AsyncIterable

from dispatcher.core.outcome import Failure, cause
from dispatcher.queue.admin.surface import (
    AttemptView,
    CallDetail,
    InMemory,
    LetterDetail,
    LetterKind,
    LetterView,
    MessageState,
    MessageView,
)

_EPOCH_US = 1_767_225_600_000_000  # 2026-01-01


def message(number: int, state: MessageState = MessageState.READY, to: str = "a") -> MessageView:
    """A message with a number in its id, for `https://{to}.example`."""
    is_scheduled = state is MessageState.SCHEDULED
    at_us = _EPOCH_US + number * 1_000_000
    return MessageView(
        id=message_id(number),
        state=state,
        destination=f"https://{to}.example",
        method="POST",
        target=f"/hooks/{number}?x=%2F",
        accepted_at_us=at_us,
        attempts=0 if state is MessageState.READY else 1,
        next_attempt_at_us=at_us + 60_000_000 if is_scheduled else None,
        last_error="http_503" if is_scheduled else None,
        size_bytes=18,
    )


def letter(
    number: int,
    *,
    to: str = "a",
    status: int | None = 503,
    error: str | None = None,
    reason: str = "retries_exhausted",
    body: bytes = b'{"hello": "world"}',
) -> LetterDetail:
    """A dead letter with a number in its id, for `https://{to}.example`; it died in that second."""
    dead_at_us = _EPOCH_US + number * 1_000_000
    view = LetterView(
        id=message_id(number),
        destination=f"https://{to}.example",
        method="POST",
        target=f"/hooks/{number}?x=%2F",
        accepted_at_us=dead_at_us - 500_000,
        dead_at_us=dead_at_us,
        attempts=2,
        last_status=status,
        last_error=cause(status, None if error is None else Failure(error)),
        reason=reason,
        size_bytes=len(body),
    )
    start = None if status is None else b"no \xff capacity"
    first = AttemptView(1, dead_at_us - 400_000, 7, 503, None, None)
    last = AttemptView(2, dead_at_us - 9_000, 9, status, error, start)
    headers = [(b"Content-Type", b"application/json"), (b"X-Name", b"J\xfcrgen")]
    because = "the destination answered 503"
    return LetterDetail(view, headers, InMemory(body), because, 0, [first, last])


def dead_call(
    number: int,
    *,
    to: str = "apps",
    function: str = "charge",
    error: str = "permanent_error",
    body: bytes = b"\x0a\x04type\x12\x05hello",
) -> LetterDetail:
    """A dead call with a number in its id, of a function of `http://{to}.example:8000`."""
    dead_at_us = _EPOCH_US + number * 1_000_000
    view = LetterView(
        id=f"{1 << 63 | number:028x}",
        destination=f"http://{to}.example:8000",
        method="",
        target="",
        accepted_at_us=dead_at_us - 500_000,
        dead_at_us=dead_at_us,
        attempts=1,
        last_status=None,
        last_error=error,
        reason="expired" if error == "expired" else "failed",
        size_bytes=len(body),
        kind=LetterKind.CALL,
        function=function,
    )
    run = AttemptView(1, dead_at_us - 400_000, 7, 200, error, None)
    call = CallDetail("shop", "v1", 7, 86_400_000, 0, "ValueError")
    return LetterDetail(view, [], InMemory(body), "no such card", 0, [run], call)


async def whole(body: AsyncIterable[bytes]) -> bytes:
    """A body in one piece."""
    return b"".join([piece async for piece in body])


def message_id(number: int) -> str:
    """The id that ends with a number."""
    return f"{number:028x}"

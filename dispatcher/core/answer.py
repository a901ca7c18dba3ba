"""What a destination answered, for who wants to know (`core.message.Message.answer_limit`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_WAITED_BYTES: Final = 1024 * 1024
"""Of a body a caller who waits for it gets so many, or none."""


def _nothing() -> None:
    """No memory was counted for it."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An answer that was read to its end, or found to be too large.

    `content_type` is the value of its first `Content-Type`, b"" without one; `retry_after` that of
    its first `Retry-After`. `is_whole`: `body` is all of its body; otherwise it is b"", or how it
    starts (`Message.want_start`). `release` says that the body is needed no more: until then it
    counts among what the process may hold. It may be called more than once. `fields` are names and
    values of its head as they came, where only its start was wanted.
    """

    status: int
    content_type: bytes
    retry_after: bytes | None
    body: bytes
    is_whole: bool = True
    release: Callable[[], None] = _nothing
    fields: tuple[tuple[bytes, bytes], ...] = ()

"""A dead letter as a command of `curl`, for trying by hand what its destination says to it."""

from __future__ import annotations

from typing import Final

from dispatcher.core.curl import INLINE_BYTES, Repeated, command, is_inline
from dispatcher.queue.admin.surface import LetterDetail

TEXT: Final = "text/plain"


async def curl_of(detail: LetterDetail, headers: list[tuple[str, str]], *, is_masked: bool) -> str:
    """A command that repeats the last attempt of a message, with these headers.

    A body that cannot be a word of a command is read from a file: a comment says how to get it.

    Raises:
        LetterGone: the letter was redriven or purged meanwhile.
    """
    letter = detail.letter
    body = await _inline(detail)
    request = Repeated(
        letter.method,
        letter.destination,
        letter.target,
        [
            *headers,
            ("X-Dispatcher-Message-Id", letter.id),
            ("X-Dispatcher-Attempt", str(max(letter.attempts, 1))),
        ],
        letter.size_bytes,
        body,
        f"{letter.id}.bin",
    )
    lines = []
    if is_masked:
        lines.append(
            "# Secrets are masked (***): put them in, or ask for the command with --reveal, or "
            "?reveal=true."
        )
    if body is None:
        lines.append(
            f"# The body, of {letter.size_bytes} bytes, is read from a file: "
            f"dispatcher dead show {letter.id} --body > {letter.id}.bin"
        )
    return "\n".join([*lines, command(request), ""])


async def _inline(detail: LetterDetail) -> bytes | None:
    """A body that can be a word of a command; None where it is too large for that, or binary."""
    if detail.letter.size_bytes > INLINE_BYTES:
        return None
    body = b"".join([piece async for piece in detail.body])
    return body if is_inline(body) else None

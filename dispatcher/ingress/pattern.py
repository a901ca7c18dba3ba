"""Heads that repeat: most callers send the same head again, but for the length of the body.

Reading a head and deciding what to forward is a third of the Python that a message costs. A
`Pattern` is the last head of a connection cut at the digits of its `Content-Length`, with the
decisions that were made for it. A request that begins with the same bytes, then other digits, then
the same bytes again, gets the same decisions: only these digits differ, and nothing but the length
follows from them. Anything else is read as if there were no pattern.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dispatcher.core.destination import Destination
from dispatcher.ingress.forward import Forward
from dispatcher.ingress.head import CHUNKED, CONTENT_LENGTH, EXPECT, Head

MAX_BYTES: Final = 2048
"""Longer heads are not worth the memory: a connection keeps its pattern as long as it is open."""
MAX_MISSES: Final = 8
"""Heads in a row that differed, after which a connection's are not compared any more."""

_MAX_DIGITS: Final = 15
_ZERO: Final = 48
_BLANKS: Final = b" \t"


class Pattern(NamedTuple):
    """`before` + digits + `after` is a head with the empty line that ends it.

    What is sent is `sent_before` + digits + `sent_after`. Without a `Content-Length` there are no
    digits, and both `after` are empty. `style` is how the answer has to look.
    """

    before: bytes
    after: bytes
    sent_before: bytes
    sent_after: bytes
    destination: Destination
    timeout_ms: int
    style: int

    def digits(self, data: bytes, start: int) -> bytes | None:
        """The digits, if the head that begins at `data[start]` is whole and like this one; b"" for
        a head without a length. The body begins `len(before) + len(digits) + len(after)` later."""
        if not data.startswith(self.before, start):
            return None
        after = self.after
        if not after:
            return b""
        start += len(self.before)
        end = data.find(b"\r", start, start + _MAX_DIGITS + 1)
        digits = data[start:end]
        if (
            end < 0
            or not digits.isdigit()
            or (digits[0] == _ZERO and end - start > 1)
            or not data.startswith(after, end)
        ):
            return None
        return digits


def pattern_of(raw: bytes, head: Head, forward: Forward) -> Pattern | None:
    """The pattern of a head, given as `read_head` got it; None when it is too unusual for one."""
    if len(raw) > MAX_BYTES or head.length == CHUNKED or EXPECT in head.found:
        return None
    decided = (forward.destination, forward.timeout_ms, head.style)
    whole = raw + b"\r\n\r\n"
    value = head.found.get(CONTENT_LENGTH)
    if value is None:
        return Pattern(whole, b"", forward.head, b"", *decided)
    line = _length_line(raw)
    digits = value.lstrip(_BLANKS)
    if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
        return None  # blanks behind it, or sent in another spelling
    before, _, after = whole.partition(line)
    sent_before, _, sent_after = forward.head.partition(line)
    name = line[: -len(digits) - 2]
    return Pattern(
        before + name, b"\r\n" + after, sent_before + name, b"\r\n" + sent_after, *decided
    )


def _length_line(raw: bytes) -> bytes:
    """The line of the length, with the line ends on both sides: so it is found where it is a line,
    and there is only one."""
    for line in raw.split(b"\r\n"):
        if line.partition(b":")[0].lower() == b"content-length":
            return b"\r\n%b\r\n" % line
    raise AssertionError("a head with a length and without its line")

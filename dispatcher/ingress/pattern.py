"""Heads that repeat: most callers send the same head again, but for the length of the body.

Reading a head and deciding what to forward is a third of the Python that a message costs. A
`Pattern` is the last head of a connection cut at the digits of its `Content-Length`, with the
decisions that were made for it. A request that begins with the same bytes, then other digits, then
the same bytes again, gets the same decisions: only these digits differ, and nothing but the length
follows from them. Anything else is read as if there were no pattern.
"""

from __future__ import annotations

from typing import Final

from dispatcher.core.destination import Destination
from dispatcher.core.option_reading import Options
from dispatcher.ingress.forward import Forward
from dispatcher.ingress.head import CHUNKED, CONTENT_LENGTH, EXPECT, Head

MAX_BYTES: Final = 2048
"""Longer heads are not worth the memory: a connection keeps its pattern as long as it is open."""
MAX_MISSES: Final = 8
"""Heads in a row that differed, after which a connection's are not compared any more."""

_MAX_DIGITS: Final = 15
_ZERO: Final = 48
_BLANKS: Final = b" \t"


class Pattern:
    """`before` + digits + `after` is a head with the empty line that ends it.

    What is sent is `sent_before` + digits + `sent_after`. Without a `Content-Length` there are no
    digits, and both `after` are empty. `style` is how the answer has to look.

    `whole` is the head that came last, `head` what is sent for it, and `length` that of its body:
    most bodies of a caller are of one length, and then a single comparison is all.
    """

    __slots__ = (
        "after",
        "before",
        "destination",
        "head",
        "length",
        "options",
        "sent_after",
        "sent_before",
        "style",
        "whole",
    )

    def __init__(
        self,
        before: bytes,
        after: bytes,
        sent_before: bytes,
        sent_after: bytes,
        *,
        digits: bytes,
        destination: Destination,
        options: Options,
        style: int,
    ) -> None:
        """`digits` are those of the head that it is made of, b"" where it has none."""
        self.before = before
        self.after = after
        self.sent_before = sent_before
        self.sent_after = sent_after
        self.destination = destination
        self.options = options
        self.style = style
        self._set(digits)

    def is_like(self, data: bytes, start: int) -> bool:
        """Whether the head that begins at `data[start]` is whole and like this one. Then `whole`,
        `head` and `length` are about it."""
        if data.startswith(self.whole, start):
            return True
        digits = self._digits(data, start)
        if digits is None:
            return False
        self._set(digits)
        return True

    def _set(self, digits: bytes) -> None:
        self.whole = self.before + digits + self.after
        self.head = self.sent_before + digits + self.sent_after
        self.length = int(digits or b"0")

    def _digits(self, data: bytes, start: int) -> bytes | None:
        """The digits of such a head; None where it is another one, or has no length."""
        after = self.after
        if not after or not data.startswith(self.before, start):
            return None
        start += len(self.before)
        end = data.find(b"\r", start, start + _MAX_DIGITS + 1)
        if end < 0:
            return None  # before the slice: compiled, one that ends before it begins is an error
        digits = data[start:end]
        if (
            not digits.isdigit()
            or (digits[0] == _ZERO and end - start > 1)
            or not data.startswith(after, end)
        ):
            return None
        return digits


def pattern_of(raw: bytes, head: Head, forward: Forward) -> Pattern | None:
    """The pattern of a head, given as `read_head` got it; None when it is too unusual for one, has
    an instant that may have passed the next time, or names a group, whose members may change."""
    if len(raw) > MAX_BYTES or head.length == CHUNKED or EXPECT in head.found:
        return None
    if forward.options.has_instant or forward.group:
        return None
    before, after = raw + b"\r\n\r\n", b""
    sent_before, sent_after = forward.head, b""
    digits = b""
    value = head.found.get(CONTENT_LENGTH)
    if value is not None:
        digits = value.lstrip(_BLANKS)
        if not digits.isdigit() or (digits[0] == _ZERO and len(digits) > 1):
            return None  # blanks behind it, or sent in another spelling
        line = _length_line(raw)
        name = line[: -len(digits) - 2]
        before, after = _cut(before, line, name)
        sent_before, sent_after = _cut(sent_before, line, name)
    return Pattern(
        before,
        after,
        sent_before,
        sent_after,
        digits=digits,
        destination=forward.destination,
        options=forward.options,
        style=head.style,
    )


def _cut(head: bytes, line: bytes, name: bytes) -> tuple[bytes, bytes]:
    """What is before and after the digits, which follow `name` in this line of a head."""
    before, _, after = head.partition(line)
    return before + name, b"\r\n" + after


def _length_line(raw: bytes) -> bytes:
    """The line of the length, with the line ends on both sides: so it is found where it is a line,
    and there is only one."""
    for line in raw.split(b"\r\n"):
        if line.partition(b":")[0].lower() == b"content-length":
            return b"\r\n%b\r\n" % line
    raise AssertionError("a head with a length and without its line")

"""A message that was accepted as one thing, and is sent as another: to another destination, or with
another body. Its head and its terms follow. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dispatcher.core.destination import Destination
from dispatcher.core.terms import Terms

_WITH_LENGTH_0: Final = (b"POST ", b"PUT ", b"PATCH ")
"""How requests begin that say so when they have no body."""


def with_host(head: bytes, to: Destination) -> bytes:
    """The same head with another destination's `Host`, at its place; where there was none, it is
    the first."""
    lines = head.split(b"\r\n")
    number = _find(lines, b"host:")
    host = b"Host: " + to.authority.encode("ascii")
    if number:
        lines[number] = host
    else:
        lines.insert(1, host)
    return b"\r\n".join(lines)


def with_length(head: bytes, size: int) -> bytes:
    """The same head for a body of so many bytes: with its length at its place, or as the last line
    where there was none and one is needed."""
    lines = head.split(b"\r\n")
    number = _find(lines, b"content-length:")
    length = b"Content-Length: %d" % size
    if number:
        lines[number] = length
    elif size or head.startswith(_WITH_LENGTH_0):
        lines.insert(len(lines) - 1, length)  # before the end of the last line
    return b"\r\n".join(lines)


def _find(lines: list[bytes], name: bytes) -> int:
    """The number of the header line that begins like this, in any case; 0: there is none."""
    for number, line in enumerate(lines[1:], 1):
        if line[: len(name)].lower() == name:
            return number
    return 0


def terms_elsewhere(terms: Terms, was: Destination) -> Terms:
    """What was asked for with a message that goes somewhere else than to `was` from now on.

    Its idempotency key stays where it was: that is where its caller would send the same again.
    """
    if not terms.stands_for_one or terms.key_place:
        return terms
    return replace(terms, key_place=was.key.decode("ascii"))

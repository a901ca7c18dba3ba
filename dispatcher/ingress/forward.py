"""From a well-formed head to the request that will be sent, or the reason why it will not be."""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.keys import Keyring, Role
from dispatcher.core.options import NO_OPTIONS, Options, meant
from dispatcher.errors import Refusal
from dispatcher.ingress import refusals
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.head import (
    CHUNKED,
    CONTENT_LENGTH,
    EXPECT,
    KEY,
    LENGTH_HERE,
    OPTION_OF,
    ORIGIN,
    ORIGINAL,
    UNKNOWN,
    Head,
)
from dispatcher.ingress.refusals import MalformedError, UnacceptableError

_MAX_CACHED_ORIGIN_BYTES: Final = 256
_BLANKS: Final = b" \t"
_WITH_LENGTH_0: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class Forward(NamedTuple):
    """What a request becomes.

    `head` is ready to be sent, without the empty line that ends it. Of a chunked request the length
    is not known yet: the line that tells it goes at `length_at`, which is -1 for all others.
    `options` is what the caller asked for.
    """

    destination: Destination
    head: bytes
    length_at: int
    options: Options

    def head_with_length(self, length: int) -> bytes:
        """The head for a body of this many bytes."""
        at = self.length_at
        if at < 0:
            return self.head
        return b"%bContent-Length: %d\r\n%b" % (self.head[:at], length, self.head[at:])


def check_key(shown: bytes, keys: Keyring) -> None:
    """Decide whether a caller who shows a key may send messages; b"" is none.

    Raises:
        UnacceptableError: it is not one of the keys, or its role may not.
    """
    key = keys.find(shown)
    if key is None:
        raise UnacceptableError(refusals.KEY)
    if key.role is Role.READ:
        raise UnacceptableError(refusals.KEY_FORBIDDEN)


def forward(head: Head, config: IngressConfig) -> Forward:
    """Decide where a request goes and what is sent there.

    Raises:
        RequestError: of the first of these that is wrong: method, origin missing, key, origin,
            options, expectation, length.
    """
    found = head.found
    if head.method == b"CONNECT":
        raise MalformedError(refusals.CONNECT)
    # The newer spelling wins, and where it is there the older one is not looked at.
    spelling = ORIGIN if ORIGIN in found else ORIGINAL
    if spelling not in found:
        raise UnacceptableError(_missing(refusals.ORIGIN_MISSING, head))
    if not config.keys.is_open:
        if KEY not in found:
            raise UnacceptableError(_missing(refusals.KEY, head))
        check_key(found[KEY].strip(_BLANKS), config.keys)
    if spelling in head.repeated:
        raise UnacceptableError(refusals.ORIGIN_REPEATED)
    origin = _origin(found[spelling])
    options = _options(head) if head.asked else NO_OPTIONS
    if EXPECT in found and found[EXPECT].strip(_BLANKS).lower() != b"100-continue":
        raise UnacceptableError(refusals.EXPECTATION)
    if head.length > config.max_body:
        raise UnacceptableError(refusals.body_too_large(config.max_body))
    request_line = b"%b %b%b HTTP/1.1\r\n" % (
        head.method,
        origin.base_path if head.target != b"*" else b"",
        head.target,
    )
    lines = _lines(head, origin.host_line[:-2])
    if head.length != CHUNKED:
        return Forward(
            origin.destination, request_line + b"\r\n".join(lines) + b"\r\n", -1, options
        )
    at = lines.index(LENGTH_HERE)
    before = request_line + b"".join(line + b"\r\n" for line in lines[:at])
    after = b"".join(line + b"\r\n" for line in lines[at + 1 :])
    return Forward(origin.destination, before + after, len(before), options)


def is_path(head: Head, path: bytes) -> bool:
    """Whether a request is for this path, with or without a query."""
    return head.target.partition(b"?")[0] == path


def _origin(value: bytes) -> Origin:
    value = value.strip(_BLANKS)
    try:
        if len(value) > _MAX_CACHED_ORIGIN_BYTES:
            return Origin.parse(value)
        return _parse_origin(value)
    except ValueError as error:
        raise UnacceptableError(refusals.origin_invalid(str(error))) from None


@functools.lru_cache(maxsize=1024)
def _parse_origin(value: bytes) -> Origin:
    return Origin.parse(value)


def _options(head: Head) -> Options:
    values: dict[str, Any] = {}
    for kind in head.asked:
        if kind == UNKNOWN:
            name = head.found[kind].decode("ascii")
            raise UnacceptableError(refusals.header_unknown(name, meant(name)))
        option = OPTION_OF[kind]
        # Latin-1 has a character for every byte; what is no ASCII is no value either.
        value = option.read(head.found[kind].strip(_BLANKS).decode("latin-1"))
        if value is None or kind in head.repeated:
            raise UnacceptableError(refusals.option_invalid(option))
        values[option.field] = value
    return Options(**values)


def _missing(refusal: Refusal, head: Head) -> Refusal:
    """A header is missing; where it may only be misspelt, that is said."""
    if UNKNOWN not in head.found:
        return refusal
    name = head.found[UNKNOWN].decode("ascii")
    return refusals.misspelt(refusal, name, meant(name))


def _lines(head: Head, host_line: bytes) -> list[bytes]:
    """The header lines that are sent: with the destination's `Host`, without what ends here."""
    lines = head.lines.copy()
    if head.host_at >= 0:
        lines[head.host_at] = host_line
    else:
        lines.insert(0, host_line)
    if head.named:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in head.named]
    if not head.length and head.method in _WITH_LENGTH_0 and CONTENT_LENGTH not in head.found:
        lines.append(b"Content-Length: 0")
    return lines

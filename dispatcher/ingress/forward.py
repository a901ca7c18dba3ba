"""From a well-formed head to the request that will be sent, or the reason why it will not be."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.keys import is_known
from dispatcher.ingress import head as heads
from dispatcher.ingress import refusals
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.head import CHUNKED, LENGTH_HERE, Head
from dispatcher.ingress.refusals import MalformedError, UnacceptableError

SERVER_DEFAULT: Final = 0
"""`Forward.timeout_ms` of a request that does not say."""

_MAX_TIMEOUT_MS: Final = 3_600_000
_MAX_CACHED_ORIGIN_BYTES: Final = 256
_BLANKS: Final = b" \t"
_WITH_LENGTH_0: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class Forward(NamedTuple):
    """What a request becomes.

    `head` is ready to be sent, without the empty line that ends it. Of a chunked request the length
    is not known yet: the line that tells it goes at `length_at`, which is -1 for all others.
    """

    destination: Destination
    head: bytes
    length_at: int
    timeout_ms: int

    def head_with_length(self, length: int) -> bytes:
        """The head for a body of this many bytes."""
        at = self.length_at
        if at < 0:
            return self.head
        return b"%bContent-Length: %d\r\n%b" % (self.head[:at], length, self.head[at:])


def forward(head: Head, config: IngressConfig) -> Forward:
    """Decide where a request goes and what is sent there.

    Raises:
        RequestError: in the order of the contract: method, origin missing, key, origin, timeout,
            expectation, length.
    """
    found = head.found
    if head.method == b"CONNECT":
        raise MalformedError(refusals.CONNECT)
    # The newer spelling wins, and where it is there the older one is not looked at.
    spelling = heads.ORIGIN if heads.ORIGIN in found else heads.ORIGINAL
    if spelling not in found:
        raise UnacceptableError(refusals.ORIGIN_MISSING)
    if config.keys and not is_known(found.get(heads.KEY, b"").strip(_BLANKS), config.keys):
        raise UnacceptableError(refusals.KEY)
    if spelling in head.repeated:
        raise UnacceptableError(refusals.ORIGIN_REPEATED)
    origin = _origin(found[spelling])
    timeout_ms = SERVER_DEFAULT
    if heads.TIMEOUT in found:
        timeout_ms = _timeout_ms(head)
    if heads.EXPECT in found and found[heads.EXPECT].strip(_BLANKS).lower() != b"100-continue":
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
            origin.destination, request_line + b"\r\n".join(lines) + b"\r\n", -1, timeout_ms
        )
    at = lines.index(LENGTH_HERE)
    before = request_line + b"".join(line + b"\r\n" for line in lines[:at])
    after = b"".join(line + b"\r\n" for line in lines[at + 1 :])
    return Forward(origin.destination, before + after, len(before), timeout_ms)


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


def _timeout_ms(head: Head) -> int:
    digits = head.found[heads.TIMEOUT].strip(_BLANKS)
    if heads.TIMEOUT in head.repeated or not digits.isdigit() or len(digits) > 16:
        raise UnacceptableError(refusals.TIMEOUT)
    timeout_ms = int(digits)
    if not 1 <= timeout_ms <= _MAX_TIMEOUT_MS:
        raise UnacceptableError(refusals.TIMEOUT)
    return timeout_ms


def _lines(head: Head, host_line: bytes) -> list[bytes]:
    """The header lines that are sent: with the destination's `Host`, without what ends here."""
    lines = head.lines.copy()
    if head.host_at >= 0:
        lines[head.host_at] = host_line
    else:
        lines.insert(0, host_line)
    if head.named:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in head.named]
    if not head.length and head.method in _WITH_LENGTH_0 and heads.CONTENT_LENGTH not in head.found:
        lines.append(b"Content-Length: 0")
    return lines

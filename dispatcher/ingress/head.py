"""Reads the head of a request: bytes in, a `Head` out, nothing kept in between but `Kinds`, which
the caller owns.

Our own reader, and not llhttp: that one hands out no raw bytes, stops at `Upgrade`, and is lenient
where a request has to be refused. Strict on purpose wherever two readers could disagree about where
a request ends (RFC 9112 section 11.2); everything else is passed through as the bytes it came in.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from dispatcher.core import options
from dispatcher.core.tokens import TOKEN
from dispatcher.ingress import answers, refusals
from dispatcher.ingress.refusals import MalformedError

CHUNKED: Final = -1
"""`Head.length` of a body whose length is only known at its end."""

# What a header is to us. PLAIN ones are passed on untouched and unseen.
PLAIN: Final = 0
ACCEPT: Final = 1
HOST: Final = 2
CONTENT_LENGTH: Final = 3
TRANSFER_ENCODING: Final = 4
DROPPED: Final = 5
CONNECTION: Final = 6
EXPECT: Final = 7
ORIGIN: Final = 8
ORIGINAL: Final = 9
KEY: Final = 10
PROXY_AUTHORIZATION: Final = 11
TARGET: Final = 12
"""No header: scheme and authority of a target in absolute form, `http://host:port`."""
UNKNOWN: Final = 13
"""One of our own that we do not know; its name is kept, and not its value."""
SCHEME: Final = 14
_FIRST_OPTION: Final = 15
OPTION_OF: Final = dict(enumerate(options.OPTIONS, _FIRST_OPTION))
"""From here on each option has a kind of its own."""

LENGTH_HERE: Final = b"Content-Length:"
"""Stands in `Head.lines` where the length of a chunked body goes. No caller's line can be equal to
it: a request with both framings is refused."""

_KIND: Final = {
    b"accept": ACCEPT,
    b"host": HOST,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"keep-alive": DROPPED,
    b"proxy-connection": DROPPED,
    b"proxy-authorization": PROXY_AUTHORIZATION,
    b"te": DROPPED,
    b"trailer": DROPPED,
    b"upgrade": DROPPED,
    b"expect": EXPECT,
    options.ORIGIN.name: ORIGIN,
    options.ORIGINAL.name: ORIGINAL,
    options.KEY.name: KEY,
    options.SCHEME.name: SCHEME,
    **{option.name: kind for kind, option in OPTION_OF.items()},
    **{title.lower().encode("ascii"): DROPPED for title in options.OWN},
}
_OURS: Final = options.PREFIX.lower().encode("ascii")

_TOKEN = re.compile(TOKEN)
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]+)(.*)")
_LEADING_ZERO = re.compile(rb"[ \t]*0[0-9]")
_CODING = _TOKEN
_TARGET_BYTES: Final = bytes(range(0x21, 0x7F))
_HOST_BYTES: Final = bytes(set(range(0x21, 0x7F)) - set(b"@/\\?#"))
_LINE_BYTES: Final = b"\0\r\n"
_BLANKS: Final = b" \t"
_NOTHING: Final[frozenset[int]] = frozenset()
_HUGE: Final = 1 << 63

# Nearly all requests have one of these, and need no look at each byte; any other token is as good.
_USUAL_METHODS: Final = frozenset(
    {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"}
)
_MAX_KNOWN_NAME_BYTES: Final = 64
MAX_KINDS: Final = 2048


class Kinds:
    """What header names are to us, in the spellings that callers use: a name is taken apart once,
    and then a line costs a look-up in `known`.

    Callers choose the names, so there are at most `MAX_KINDS`; all are forgotten then, or names
    that somebody made up would stay in place of those in use.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}

    def learn(self, name: bytes) -> int:
        """Return the kind of a name, and know it from now on.

        Raises:
            MalformedError: it is not a name at all.
        """
        if not _TOKEN.fullmatch(name):
            raise MalformedError(refusals.HEADER)
        lower = name.lower()
        kind = _KIND.get(lower, UNKNOWN if lower.startswith(_OURS) else PLAIN)
        if len(name) <= _MAX_KNOWN_NAME_BYTES:
            if len(self.known) >= MAX_KINDS:
                self.known.clear()
            self.known[name] = kind
        return kind


class Head(NamedTuple):
    """The head of one request, its framing checked.

    `method`    as the caller spelled it.
    `target`    the request target in origin form: an absolute form has lost its scheme and
                authority.
    `lines`     header lines to be passed on, in order and byte for byte, with `Host` still the
                caller's, and LENGTH_HERE where the length of a chunked body goes.
    `host_at`   index of `Host` in `lines`, -1 when there is none.
    `found`     values of the headers that mean something to us, by kind; repeated ones joined by a
                comma. TARGET is among them.
    `repeated`  kinds that came more than once.
    `asked`     kinds of the options, SCHEME and UNKNOWN, in their order; usually none.
    `length`    bytes of the body, or CHUNKED.
    `style`     how the answer has to look, see `answers`.
    `named`     lower-case names that `Connection` takes out of `lines`.
    """

    method: bytes
    target: bytes
    lines: list[bytes]
    host_at: int
    found: dict[int, bytes]
    repeated: frozenset[int]
    asked: tuple[int, ...]
    length: int
    style: int
    named: frozenset[bytes]


def read_head(raw: bytes, kinds: Kinds) -> Head:
    """Read a head, given without the empty line that ends it. `kinds` may be new, or used before:
    it only saves time.

    Raises:
        MalformedError: who wrote this head and we may not agree on where the request ends.
    """
    lines = raw.split(b"\r\n")
    # Nothing but the line ends that were split at may be taken out here.
    if len(raw.translate(None, _LINE_BYTES)) != len(raw) - 2 * (len(lines) - 1):
        raise MalformedError(refusals.HEADER)
    request_line = lines[0].split(b" ")
    if len(request_line) != 3:
        raise MalformedError(refusals.REQUEST_LINE)
    method, target, version = request_line
    if method not in _USUAL_METHODS and not _TOKEN.fullmatch(method):
        raise MalformedError(refusals.REQUEST_LINE)
    current = version == b"HTTP/1.1"
    if not current:
        _check_version(version)
    if target.translate(None, _TARGET_BYTES):
        raise MalformedError(refusals.TARGET)
    found: dict[int, bytes] = {}
    if target[:1] != b"/":
        target = _origin_form(method, target, found)

    kept: list[bytes] = []
    repeated = _NOTHING
    asked: tuple[int, ...] = ()
    host_at = -1
    keep = kept.append
    kind_of = kinds.known.get
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(b":")
        kind = kind_of(name)
        if kind is None:
            kind = kinds.learn(name)
        if not colon:
            raise MalformedError(refusals.HEADER)
        if kind:
            if kind in found and kind != DROPPED:
                value = found[kind] + b"," + value
                repeated |= {kind}
            found[kind] = value
            if kind > TRANSFER_ENCODING:
                if kind >= UNKNOWN:
                    asked += (kind,)
                    if kind == UNKNOWN:
                        found[kind] = name
                continue
            if kind == HOST:
                host_at = len(kept)
            elif kind == TRANSFER_ENCODING:
                line = LENGTH_HERE
        keep(line)

    length = _length(found, repeated)
    chunked = TRANSFER_ENCODING in found
    if HOST in found:
        if HOST in repeated or found[HOST].strip(_BLANKS).translate(None, _HOST_BYTES):
            raise MalformedError(refusals.HOST)
    elif current:
        raise MalformedError(refusals.HOST)
    if not current:
        if chunked:
            raise MalformedError(refusals.TRANSFER_ENCODING)
        found.pop(EXPECT, None)  # RFC 9110 section 10.1.1: not from an HTTP/1.0 caller
    if chunked:
        _check_coding(found[TRANSFER_ENCODING])
    elif CONTENT_LENGTH in found and _LEADING_ZERO.match(found[CONTENT_LENGTH]):
        _rewrite_length(kept, length)

    style = answers.PLAIN if current else answers.CLOSE
    named: frozenset[bytes] = frozenset()
    if CONNECTION in found:
        style, named = _connection(found[CONNECTION], current=current)
    if method == b"HEAD":
        style |= answers.NO_BODY
    if ACCEPT in found and answers.names_json(found[ACCEPT]):
        style |= answers.JSON
    return Head(method, target, kept, host_at, found, repeated, asked, length, style, named)


def is_broken(buffer: bytearray, seen: int) -> bool:
    """Whether this unfinished head can never become a valid one; its first `seen` bytes were looked
    at.

    Without this, a caller with bare LF line ends would wait until its time for a head is over.
    """
    part = buffer[max(seen - 1, 0) :]
    pairs = part.count(b"\r\n")
    looked_at = 1 if seen else 0
    return (
        part.count(b"\n", looked_at) != pairs
        or part.count(b"\r", 0, len(part) - 1) != pairs
        or b"\0" in part
    )


def _origin_form(method: bytes, target: bytes, found: dict[int, bytes]) -> bytes:
    """The path and query of a target that does not start with `/` (RFC 9112 section 3.2); what
    stands before them goes into `found`."""
    if target == b"*" and method == b"OPTIONS":
        return target
    if method == b"CONNECT":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedError(refusals.TARGET)
    found[TARGET] = absolute[1]
    path: bytes = absolute[2]
    if path[:1] == b"/":
        return path
    if not path and method == b"OPTIONS":
        return b"*"
    return b"/" + path


def _length(found: dict[int, bytes], repeated: frozenset[int]) -> int:
    """The length of the body (RFC 9112 section 6.3); what could be read in two ways is refused."""
    if CONTENT_LENGTH not in found:
        return CHUNKED if TRANSFER_ENCODING in found else 0
    if TRANSFER_ENCODING in found:
        raise MalformedError(refusals.FRAMING)
    digits = found[CONTENT_LENGTH].strip(_BLANKS)
    if CONTENT_LENGTH in repeated or not digits.isdigit():
        raise MalformedError(refusals.CONTENT_LENGTH)
    if len(digits) > 18:
        digits = digits.lstrip(b"0")
        return int(digits or b"0") if len(digits) <= 18 else _HUGE
    return int(digits)


def _rewrite_length(lines: list[bytes], length: int) -> None:
    """Spell a length with leading zeros so that no destination takes it for octal."""
    for at, line in enumerate(lines):
        name, _, _ = line.partition(b":")
        if name.lower() == b"content-length":
            lines[at] = b"%b: %d" % (name, length)


def _check_version(version: bytes) -> None:
    """Take HTTP/1.0; another version is 505 (so is the preface of HTTP/2), anything else 400."""
    if not _VERSION.fullmatch(version):
        raise MalformedError(refusals.REQUEST_LINE)
    if version != b"HTTP/1.0":
        raise MalformedError(refusals.VERSION)


def _check_coding(value: bytes) -> None:
    """Take `chunked` alone; an unknown coding is 501, anything that is no list of codings 400."""
    codings = [coding.strip(_BLANKS).lower() for coding in value.split(b",")]
    if codings == [b"chunked"]:
        return
    if any(not _CODING.fullmatch(coding) for coding in codings) or set(codings) == {b"chunked"}:
        raise MalformedError(refusals.TRANSFER_ENCODING)
    raise MalformedError(refusals.CODING)


_ESSENTIAL: Final = {b"host", b"content-length", b"close", b"keep-alive"}


def _connection(value: bytes, *, current: bool) -> tuple[int, frozenset[bytes]]:
    """The style of the answer, and the names of the headers that end here (RFC 9110 section 7.6.1).

    A caller that names `Host` or `Content-Length` does not get rid of them: the request's framing
    is ours.
    """
    options = {option.strip(_BLANKS) for option in value.lower().split(b",")}
    if b"close" in options:
        style = answers.CLOSE
    elif current:
        style = answers.PLAIN
    else:
        style = answers.KEEP_ALIVE if b"keep-alive" in options else answers.CLOSE
    return style, frozenset(options - _ESSENTIAL)

"""From a well-formed head to the request that will be sent, or the reason why it will not be."""

from __future__ import annotations

import functools
import re
import time
from typing import Final, NamedTuple

from dispatcher.core.destination import GROUP, Destination, Origin, group_in
from dispatcher.core.idempotency import Printer, begin_print, new_print
from dispatcher.core.keys import Keyring, Role
from dispatcher.core.meeting import Keys, keys_of, keys_of_all
from dispatcher.core.option_reading import NO_OPTIONS, BadOption, Options, read_options
from dispatcher.core.options import Option, meant
from dispatcher.core.placing import place_of_group
from dispatcher.core.rules.table import Group
from dispatcher.core.terms import Terms
from dispatcher.errors import Refusal
from dispatcher.ingress import refusals
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.entrance import LISTENER, Entrance, password_of
from dispatcher.ingress.head import (
    CHUNKED,
    CONTENT_LENGTH,
    EXPECT,
    KEY,
    LENGTH_HERE,
    OPTION_OF,
    ORIGIN,
    ORIGINAL,
    PROXY_AUTHORIZATION,
    SCHEME,
    TARGET,
    UNKNOWN,
    Head,
)
from dispatcher.ingress.refusals import MalformedError, UnacceptableError

_MAX_CACHED_ORIGIN_BYTES: Final = 256
_BLANKS: Final = b" \t"
_SCHEME = re.compile(rb"\Ahttps?://", re.IGNORECASE)
_PROXY: Final = b"proxy-"
"""How the names of headers begin that are for a proxy and end there."""
_WITH_LENGTH_0: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class Forward(NamedTuple):
    """What a request becomes.

    `head` is ready to be sent, without the empty line that ends it. Of a chunked request the length
    is not known yet: the line that tells it goes at `length_at`, which is -1 for all others.
    `options` is what the caller asked for. A request to a group, whose name is `group`, becomes one
    for its first member, and `others`, which have no others; `asked` is its own request line then.
    """

    destination: Destination
    head: bytes
    length_at: int
    options: Options
    group: str = ""
    others: tuple[Forward, ...] = ()
    asked: bytes = b""

    @property
    def place(self) -> bytes:
        """Where a message meets others (`core.placing`), and b"" for one that has none to meet."""
        if not (self.options.is_keyed or self.options.is_placed):
            return b""
        return place_of_group(self.group) if self.group else self.destination.key

    @property
    def keys(self) -> Keys:
        """By which keys (`core.meeting`)."""
        options, every = self.options, (self, *self.others)
        terms = Terms(
            idempotency_key=options.idempotency_key or "",
            order_key=options.order_key or "",
            flow_key=options.flow_key or "",
        )
        if self.group:
            return keys_of_all(self.place, [one.destination.key for one in every], terms)
        return keys_of(self.destination.key, terms)

    def head_with_length(self, length: int) -> bytes:
        """The head for a body of this many bytes."""
        at = self.length_at
        if at < 0:
            return self.head
        return b"%bContent-Length: %d\r\n%b" % (self.head[:at], length, self.head[at:])

    def begin_print(self) -> Printer:
        """Begin the print of the request (`core.idempotency`). That to a group has one for all
        members, and what paths they have does not matter."""
        return new_print(self.asked) if self.group else begin_print(self.head)


def check_key(shown: bytes, keys: Keyring, entrance: Entrance) -> None:
    """Decide whether a caller who shows a key may send messages; b"" is none.

    Raises:
        UnacceptableError: it is not one of the keys, or its role may not.
    """
    key = keys.find(shown)
    if key is None:
        raise UnacceptableError(entrance.key)
    if key.role is Role.READ:
        raise UnacceptableError(refusals.KEY_FORBIDDEN)


def forward(
    head: Head, config: IngressConfig, entrance: Entrance = LISTENER, *, is_new: bool = True
) -> Forward:
    """Decide where a request goes and what is sent there. Where it is not new, an instant that has
    passed is no mistake.

    Raises:
        RequestError: of the first of these that is wrong: method, origin missing, key, origin,
            options, expectation, length.
    """
    found = head.found
    if head.method == b"CONNECT":
        raise MalformedError(entrance.connect)
    # The newer spelling wins, and where it is there the older one is not looked at.
    spelling = ORIGIN if ORIGIN in found else ORIGINAL
    if spelling not in found:
        if not entrance.is_proxy or TARGET not in found:
            missing = refusals.NO_PROXY if TARGET in found else entrance.origin_missing
            raise UnacceptableError(_missing(missing, head))
        spelling = TARGET
    if not config.keys.is_open:
        check_key(_key(head, entrance), config.keys, entrance)
    if spelling in head.repeated:
        raise UnacceptableError(refusals.ORIGIN_REPEATED)
    group = None
    if GROUP in found[spelling] and spelling != TARGET:
        group = _group(found[spelling], config)
    origin = _origin(found[spelling], spelling) if group is None else group.members[0]
    options = NO_OPTIONS
    if head.asked:
        options = _options(head, is_new=is_new)
        if group is not None and options.wait_ms is not None:
            raise UnacceptableError(refusals.GROUP_WAIT)
        if SCHEME in found:
            if group is not None:
                raise UnacceptableError(refusals.GROUP_SCHEME)
            origin = _over_tls(head, spelling)
    if EXPECT in found and found[EXPECT].strip(_BLANKS).lower() != b"100-continue":
        raise UnacceptableError(refusals.EXPECTATION)
    if head.length > config.max_body:
        raise UnacceptableError(refusals.body_too_large(config.max_body))
    if config.spreads_rules and group is None and config.rules.bounds(origin.destination):
        options = options._replace(is_plain=False, is_placed=True)
    wanted = _wanted(head, origin, entrance, options)
    if group is None:
        return wanted
    others = [_wanted(head, member, entrance, options) for member in group.members[1:]]
    asked = b"%b %b" % (head.method, head.target)
    return wanted._replace(group=group.name, others=tuple(others), asked=asked)


def _wanted(head: Head, origin: Origin, entrance: Entrance, options: Options) -> Forward:
    """What is sent to one place."""
    request_line = b"%b %b%b HTTP/1.1\r\n" % (
        head.method,
        origin.base_path if head.target != b"*" else b"",
        head.target,
    )
    lines = _lines(head, origin.host_line[:-2])
    if entrance.is_proxy:
        lines = [line for line in lines if line[: len(_PROXY)].lower() != _PROXY]
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


def _key(head: Head, entrance: Entrance) -> bytes:
    """The key that a caller shows: the header of ours, or the password for the proxy."""
    found = head.found
    if KEY in found:
        return found[KEY].strip(_BLANKS)
    if not entrance.is_proxy or PROXY_AUTHORIZATION not in found:
        raise UnacceptableError(_missing(entrance.key, head))
    return password_of(found[PROXY_AUTHORIZATION])


def _group(value: bytes, config: IngressConfig) -> Group | None:
    """The group that is named, or None where a place is."""
    name = group_in(value.strip(_BLANKS))
    if name is None:
        return None
    rules = config.rules.all
    group = rules.group(name)
    if group is None:
        names = [group.name for group in rules.groups]
        raise UnacceptableError(refusals.group_unknown(name, names))
    return group


def _origin(value: bytes, spelling: int) -> Origin:
    value = value.strip(_BLANKS)
    try:
        if len(value) > _MAX_CACHED_ORIGIN_BYTES:
            return Origin.parse(value)
        return _parse_origin(value)
    except ValueError as error:
        reason = str(error)
        raise UnacceptableError(
            refusals.target_origin_invalid(reason)
            if spelling == TARGET
            else refusals.origin_invalid(reason)
        ) from None


@functools.lru_cache(maxsize=1024)
def _parse_origin(value: bytes) -> Origin:
    return Origin.parse(value)


def _over_tls(head: Head, spelling: int) -> Origin:
    """The same origin with `https`, whatever scheme it has; a port that is named stays."""
    if SCHEME in head.repeated or head.found[SCHEME].strip(_BLANKS).lower() != b"https":
        raise UnacceptableError(refusals.SCHEME)
    rest = _SCHEME.sub(b"", head.found[spelling].strip(_BLANKS), count=1)
    return _origin(b"https://" + rest, spelling)


def _options(head: Head, *, is_new: bool) -> Options:
    given: list[tuple[Option, str]] = []
    for kind in head.asked:
        if kind == UNKNOWN:
            name = head.found[kind].decode("ascii")
            raise UnacceptableError(refusals.header_unknown(name, meant(name)))
        if kind == SCHEME:
            continue
        # Latin-1 has a character for every byte; what is no ASCII is no value either.
        given.append((OPTION_OF[kind], head.found[kind].strip(_BLANKS).decode("latin-1")))
    if not given:
        return NO_OPTIONS
    try:
        return read_options(given, time.time_ns() // 1000 if is_new else None)
    except BadOption as error:
        raise UnacceptableError(refusals.option_invalid(error)) from None


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

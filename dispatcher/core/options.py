"""The headers with which a caller tells the dispatcher, and not the destination, what to do.

One row a header. The reader of heads, `dispatcher send`, the answers to mistakes and the tests of
the documentation take names, values and words from here; none of these headers is forwarded.

A new option is a row in `OPTIONS` and a field of `Options`. What is to last longer than the request
is more: `ingress.handover` puts it into the message, a new kind of record stores it
(`queue.records.kinds`), exports carry it (`api.carried`, `cli.carrying`), and `dispatcher send` has
a flag for it. `KEY` is no option: it is looked at before them, and says nothing about the message.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from dispatcher.core.units import duration_ms, duration_text

PREFIX: Final = "X-Dispatcher-"
"""All headers that begin so are for the dispatcher; one that is not known is a mistake."""

_MAX_MEANT_BYTES: Final = 32


class Options(NamedTuple):
    """What a caller asked for with one message.

    Of every field None says that it was not given.

    `timeout_ms`   for one attempt.
    """

    timeout_ms: int | None = None


NO_OPTIONS: Final = Options()


@dataclass(frozen=True, slots=True)
class Header:
    """One of our headers. `means` says what it is for, `takes` which values it has."""

    title: str
    means: str
    takes: str

    @property
    def name(self) -> bytes:
        """As heads are searched for it: in lower case."""
        return self.title.lower().encode("ascii")


@dataclass(frozen=True, slots=True)
class Option(Header):
    """A header whose value goes into a field of `Options`.

    `slug`   of the refusal of a bad value.
    `field`  the field's name.
    `read`   gives the field's value, of whatever type that has, or None for what is none. Blanks
             around it are gone.
    """

    slug: str
    field: str
    read: Callable[[str], object]


def duration_between(least_ms: int, most_ms: int) -> Callable[[str], int | None]:
    """What reads a duration in milliseconds within these bounds."""

    def read(text: str) -> int | None:
        value = duration_ms(text)
        return value if value is not None and least_ms <= value <= most_ms else None

    return read


_MAX_TIMEOUT_MS: Final = 3_600_000

ORIGIN: Final = Header(
    "X-Dispatcher-Origin-Host",
    "where the message goes",
    "`host`, `host:port` or `[v6]:port`, each optionally after `http://` or `https://` and before "
    "a base path",
)
ORIGINAL: Final = Header(
    "X-Dispatcher-Original-Host",
    "its older spelling, where the newer is missing",
    "the same",
)
KEY: Final = Header("X-Dispatcher-Key", "shows that the caller may send", "one of `LISTEN_KEYS`")
TIMEOUT: Final = Option(
    "X-Dispatcher-Timeout",
    "for one attempt, in place of `DEFAULT_TIMEOUT`",
    f"a duration from `1ms` to `{duration_text(_MAX_TIMEOUT_MS)}`: `500ms`, `30s`, `1m30s`; "
    "a bare number is milliseconds",
    slug="timeout_invalid",
    field="timeout_ms",
    read=duration_between(1, _MAX_TIMEOUT_MS),
)

OPTIONS: Final[tuple[Option, ...]] = (TIMEOUT,)
HEADERS: Final[tuple[Header, ...]] = (ORIGIN, ORIGINAL, KEY, *OPTIONS)

OWN: Final = tuple(
    PREFIX + rest
    for rest in ("Message-Id", "Attempt", "Callback-Of", "Outcome", "Duplicate", "Features")
)
"""What dispatchers add to requests and answers. Taken from a caller without a look at the value and
dropped, so that the destination of one dispatcher may be another."""


@functools.lru_cache(maxsize=256)
def meant(name: str) -> str | None:
    """The header that was probably meant by one that is not known, or None. Any case."""
    rest = name.lower().removeprefix(PREFIX.lower())
    if len(rest) > _MAX_MEANT_BYTES:
        return None
    known = {header.title.removeprefix(PREFIX).lower(): header.title for header in HEADERS}
    near = difflib.get_close_matches(rest, known, 1)
    return known[near[0]] if near else None

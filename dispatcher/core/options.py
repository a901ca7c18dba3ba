"""The headers with which a caller tells the dispatcher, and not the destination, what to do.

One row a header. The reader of heads, `dispatcher send`, imports, the answers to mistakes and the
tests of the documentation take names, values and words from here; none of these headers is
forwarded.

A new option is a row in `OPTIONS` and a field of `core.option_reading.Options`. What is to last
longer than the request is a field of `core.terms.Terms` too, which `Options.terms` sets, with a tag
in `queue.records.terms`: then it is stored, exported, imported and shown. `Terms.of_copied` says
whether a copy has it.

`KEY` is no option: it is looked at before them, and says nothing about the message. Nor is
`SCHEME`, which is a part of where the message goes.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from dispatcher.core.callbacks import MAX_URL_BYTES, callback_url
from dispatcher.core.flow import FLOW_EXPECTED, parse_flow
from dispatcher.core.option_values import (
    YEAR_MS,
    after,
    after_or_rfc3339,
    duration_between,
    instant_text,
    rfc3339_or_epoch,
    visible,
    whole_between,
)
from dispatcher.core.terms import Terms
from dispatcher.core.units import duration_text

PREFIX: Final = "X-Dispatcher-"
"""All headers that begin so are for the dispatcher; one that is not known is a mistake."""

_MAX_MEANT_BYTES: Final = 32


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


def _not_stored(terms: Terms) -> str | None:
    """What says nothing of its own in what is stored."""
    return None


@dataclass(frozen=True, slots=True)
class Option(Header):
    """A header whose value goes into a field of `Options`.

    `slug`     of the refusal of a bad value.
    `field`    the field's name.
    `read`     gives the field's value, of whatever type that has, or None for what is none. Blanks
               around it are gone.
    `write`    gives the header's value for what is stored, or None: it was not given.
    `is_term`  whether it is stored with the message as one of its `Terms`.
    """

    slug: str
    field: str
    read: Callable[[str], object]
    write: Callable[[Terms], str | None] = _not_stored
    is_term: bool = True

    @property
    def key(self) -> str:
        """Its name in JSON: `not_before`."""
        return self.title.removeprefix(PREFIX).lower().replace("-", "_")


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _duration(value: int | None) -> str | None:
    return None if value is None else duration_text(value)


_MAX_TIMEOUT_MS: Final = 3_600_000
_MAX_WAIT_MS: Final = 60_000
_MAX_DEADLINE_MS: Final = 10 * YEAR_MS
_MAX_RETRIES: Final = 1000
_MAX_LABEL_BYTES: Final = 64
_MAX_KEY_BYTES: Final = 255
_A_URL: Final = (
    "a whole URL such as `https://app.example.com/done`, of at most "
    f"{MAX_URL_BYTES} bytes, without a user or a fragment"
)
_AS_DURATION: Final = "such as `500ms` or `30s`; a bare number is milliseconds"
_INSTANT: Final = "an instant of RFC 3339 such as `2027-01-31T12:00:00Z`"

ORIGIN: Final = Header(
    "X-Dispatcher-Origin-Host",
    "where the message goes",
    "`host`, `host:port` or `[v6]:port`, each optionally after `http://` or `https://` and before "
    "a base path; or `group:NAME`",
)
ORIGINAL: Final = Header(
    "X-Dispatcher-Original-Host",
    "its older spelling, where the newer is missing",
    "the same",
)
KEY: Final = Header("X-Dispatcher-Key", "shows that the caller may send", "one of `LISTEN_KEYS`")
SCHEME: Final = Header(
    "X-Dispatcher-Scheme",
    "goes to the destination over TLS, where it would be `http`; a port that is named stays",
    "`https`",
)
TIMEOUT: Final = Option(
    "X-Dispatcher-Timeout",
    "for one attempt, in place of `DEFAULT_TIMEOUT`",
    f"a duration from `1ms` to `{duration_text(_MAX_TIMEOUT_MS)}`, {_AS_DURATION}",
    slug="timeout_invalid",
    field="timeout_ms",
    read=duration_between(1, _MAX_TIMEOUT_MS),
    is_term=False,
)
DELAY: Final = Option(
    "X-Dispatcher-Delay",
    "the first attempt comes so much later",
    f"a duration of at most `{duration_text(YEAR_MS)}`, {_AS_DURATION}",
    slug="delay_invalid",
    field="delay",
    read=after(0, YEAR_MS),
)
NOT_BEFORE: Final = Option(
    "X-Dispatcher-Not-Before",
    "the first attempt does not come before this instant",
    f"{_INSTANT}, or whole seconds since the epoch; at most `{duration_text(YEAR_MS)}` ahead",
    slug="not_before_invalid",
    field="not_before",
    read=rfc3339_or_epoch,
    write=lambda terms: instant_text(terms.not_before_us),
)
DEADLINE: Final = Option(
    "X-Dispatcher-Deadline",
    "no attempt starts after it: the message is a dead letter then, with the reason `expired`",
    f"{_INSTANT}, or a duration from `1ms` to `{duration_text(_MAX_DEADLINE_MS)}`, {_AS_DURATION}",
    slug="deadline_invalid",
    field="deadline",
    read=after_or_rfc3339(1, _MAX_DEADLINE_MS),
    write=lambda terms: instant_text(terms.deadline_us),
)
RETRIES: Final = Option(
    "X-Dispatcher-Retries",
    "retries after the first attempt, in place of `RETRYLIMIT`",
    f"a whole number from 0 to {_MAX_RETRIES}",
    slug="retries_invalid",
    field="retries",
    read=whole_between(0, _MAX_RETRIES),
    write=lambda terms: _number(terms.retries),
)
RETRY_DELAY: Final = Option(
    "X-Dispatcher-Retry-Delay",
    "before the first retry, in place of `RETRY_DELAY`; doubled before each later one",
    f"a duration of at most `{duration_text(YEAR_MS)}`, {_AS_DURATION}",
    slug="retry_delay_invalid",
    field="retry_delay_ms",
    read=duration_between(0, YEAR_MS),
    write=lambda terms: _duration(terms.retry_delay_ms),
)
RETRY_MAX_DELAY: Final = Option(
    "X-Dispatcher-Retry-Max-Delay",
    "before any retry at most, whatever `Retry-After` asks for, in place of `RETRY_MAX_DELAY`",
    f"a duration from `1ms` to `{duration_text(YEAR_MS)}`, {_AS_DURATION}",
    slug="retry_max_delay_invalid",
    field="retry_max_delay_ms",
    read=duration_between(1, YEAR_MS),
    write=lambda terms: _duration(terms.retry_max_delay_ms),
)
LABEL: Final = Option(
    "X-Dispatcher-Label",
    "what the message is shown with and found by",
    f"1 to {_MAX_LABEL_BYTES} visible ASCII characters, without blanks",
    slug="label_invalid",
    field="label",
    read=visible(_MAX_LABEL_BYTES),
    write=lambda terms: terms.label or None,
)
IDEMPOTENCY_KEY: Final = Option(
    "X-Dispatcher-Idempotency-Key",
    "the same key at the same destination again, within `IDEMPOTENCY_WINDOW`: nothing more is "
    "stored",
    f"1 to {_MAX_KEY_BYTES} visible ASCII characters, without blanks",
    slug="idempotency_key_invalid",
    field="idempotency_key",
    read=visible(_MAX_KEY_BYTES),
    write=lambda terms: terms.idempotency_key or None,
)
CALLBACK: Final = Option(
    "X-Dispatcher-Callback",
    "who is told, by a message of its own, that the message is delivered",
    _A_URL,
    slug="callback_invalid",
    field="callback",
    read=callback_url,
    write=lambda terms: terms.callback or None,
)
FAILURE_CALLBACK: Final = Option(
    "X-Dispatcher-Failure-Callback",
    "who is told so that the message is given up",
    _A_URL,
    slug="failure_callback_invalid",
    field="failure_callback",
    read=callback_url,
    write=lambda terms: terms.failure_callback or None,
)
ORDER_KEY: Final = Option(
    "X-Dispatcher-Order-Key",
    "messages of one destination with one key are delivered one at a time, in their order",
    f"1 to {_MAX_KEY_BYTES} visible ASCII characters, without blanks",
    slug="order_key_invalid",
    field="order_key",
    read=visible(_MAX_KEY_BYTES),
    write=lambda terms: terms.order_key or None,
)
FLOW_KEY: Final = Option(
    "X-Dispatcher-Flow-Key",
    "whose messages `X-Dispatcher-Flow` is for, at one destination: a tenant, a user",
    f"1 to {_MAX_KEY_BYTES} visible ASCII characters, without blanks",
    slug="flow_key_invalid",
    field="flow_key",
    read=visible(_MAX_KEY_BYTES),
    write=lambda terms: terms.flow_key or None,
)
FLOW: Final = Option(
    "X-Dispatcher-Flow",
    "how often attempts of the flow key start, and how many run at once; the last value holds",
    FLOW_EXPECTED,
    slug="flow_invalid",
    field="flow",
    read=parse_flow,
    write=lambda terms: None if terms.flow is None else str(terms.flow),
)
WAIT: Final = Option(
    "X-Dispatcher-Wait",
    "the answer is what becomes of the message, if that is known after so long: the destination's",
    f"a duration from `1ms` to `{duration_text(_MAX_WAIT_MS)}`, {_AS_DURATION}",
    slug="wait_invalid",
    field="wait_ms",
    read=duration_between(1, _MAX_WAIT_MS),
    is_term=False,
)

OPTIONS: Final[tuple[Option, ...]] = (
    TIMEOUT,
    DELAY,
    NOT_BEFORE,
    DEADLINE,
    RETRIES,
    RETRY_DELAY,
    RETRY_MAX_DELAY,
    LABEL,
    IDEMPOTENCY_KEY,
    CALLBACK,
    FAILURE_CALLBACK,
    ORDER_KEY,
    FLOW_KEY,
    FLOW,
    WAIT,
)
HEADERS: Final[tuple[Header, ...]] = (ORIGIN, ORIGINAL, KEY, SCHEME, *OPTIONS)

OWN: Final = tuple(
    PREFIX + rest
    for rest in ("Message-Id", "Attempt", "Callback-Of", "Outcome", "Duplicate", "Features")
)
"""What dispatchers add to requests and answers. Taken from a caller without a look at the value and
dropped, so that the destination of one dispatcher may be another."""


def written(terms: Terms | None) -> dict[str, str]:
    """What is stored of a message's options, by their names in JSON, as
    `option_reading.read_options` reads it."""
    if terms is None:
        return {}
    found = ((option.key, option.write(terms)) for option in OPTIONS)
    return {key: value for key, value in found if value is not None}


BY_KEY: Final[Mapping[str, Option]] = {option.key: option for option in OPTIONS}
"""Options by their names in JSON."""


@functools.lru_cache(maxsize=256)
def meant(name: str) -> str | None:
    """The header that was probably meant by one that is not known, or None. Any case."""
    rest = name.lower().removeprefix(PREFIX.lower())
    if len(rest) > _MAX_MEANT_BYTES:
        return None
    known = {header.title.removeprefix(PREFIX).lower(): header.title for header in HEADERS}
    near = difflib.get_close_matches(rest, known, 1)
    return known[near[0]] if near else None

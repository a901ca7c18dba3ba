"""One `[[notify]]` table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from dispatcher.core.callbacks import MAX_URL_BYTES, place_of
from dispatcher.core.rate import Rate, parse_rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.notify import Below, Format, Kind, Notify
from dispatcher.core.rules.rule import Secret
from dispatcher.core.units import size_bytes
from dispatcher.settings import values
from dispatcher.settings.rules.destinations import read_match
from dispatcher.settings.rules.headers import read_headers
from dispatcher.settings.rules.reading import Mistakes, Table
from dispatcher.settings.rules.secrets import read_text

KEYS: Final = ("on", "url", "format", "at_most", "destination", "for", "below", "headers")
KINDS: Final = tuple(kind for kind in Kind if kind is not Kind.TEST)
DEFAULT_AT_MOST: Final = Rate(1, 600_000_000)
DEFAULT_FOR_MS: Final = 600_000
DEFAULT_BELOW: Final = Below("10%", part=0.1)
_MOST: Final = 1000
_AT_MOST_EXPECTED: Final = (
    f"a number from 1 to {_MOST}, a slash and a time in seconds, minutes, hours or days, of a year "
    "at most, such as 1/10m or 5/h"
)
_DAY_MS: Final = 24 * 3_600_000
_PERCENT: Final = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,3})?)%")
_ABOUT_ONE: Final = {"for": Kind.DESTINATION_FAILING, "below": Kind.DISK_LOW}
"""Keys that mean something for one kind only."""


def read_notify(
    given: Mapping[str, Any], environ: Mapping[str, str], mistakes: Mistakes
) -> Notify | None:
    """Read a table; None where something is wrong, which is noted."""
    before = len(mistakes.found)
    table = Table(given, KEYS, mistakes)
    for key in ("on", "url"):
        if key not in given:
            mistakes.add(f"{key} is missing")
    on = table.read("on", _kinds) or ()
    url = table.read_hidden("url", partial(_url, environ=environ))
    format_ = table.read("format", _format)
    at_most = table.read("at_most", _rate)
    match: Match | None = table.read("destination", read_match)
    for_ms = table.read("for", values.milliseconds(1, 7 * _DAY_MS))
    below = table.read("below", _below)
    headers = table.read_hidden("headers", partial(read_headers, environ=environ)) or ()
    for key, kind in _ABOUT_ONE.items():
        if key in given and on and kind not in on:
            mistakes.add(f'{key} is about {kind.value}: expected "{kind.value}" in on')
    if len(mistakes.found) > before or url is None:
        return None
    return Notify(
        on,
        url,
        format_ or Format.JSON,
        at_most or DEFAULT_AT_MOST,
        match,
        DEFAULT_FOR_MS if for_ms is None else for_ms,
        below or DEFAULT_BELOW,
        headers,
    )


def _kinds(raw: object) -> tuple[Kind, ...]:
    words = {kind.value: kind for kind in KINDS}
    expected = "one or more of " + ", ".join(words)
    items = values.items(raw, expected)
    if not items or not words.keys() >= set(items):
        raise ValueError(expected)
    return tuple(kind for kind in KINDS if kind.value in items)


def _url(raw: object, environ: Mapping[str, str]) -> Secret:
    """The value is not in what is said: whoever knows the URL of a webhook may write there."""
    text, source = read_text(raw, environ)
    try:
        place_of(text)
    except ValueError as error:
        raise ValueError(
            f"expected a whole URL of at most {MAX_URL_BYTES} bytes, such as "
            f"https://hooks.example.com/x, or env:NAME or file:PATH of one: {error}"
        ) from None
    return Secret(text.encode("ascii"), source)


def _format(raw: object) -> Format:
    for one in Format:
        if one.value == raw:
            return one
    raise ValueError("one of " + ", ".join(one.value for one in Format))


def _rate(raw: object) -> Rate:
    rate = parse_rate(raw.strip()) if isinstance(raw, str) else None
    if rate is None or rate.count > _MOST:
        raise ValueError(_AT_MOST_EXPECTED)
    return rate


def _below(raw: object) -> Below:
    text = raw.strip() if isinstance(raw, str) else ""
    if (percent := _PERCENT.fullmatch(text)) and float(percent[1]):
        return Below(text, part=float(percent[1]) / 100)
    if size := size_bytes(text):
        return Below(text, size_bytes=size)
    raise ValueError("a part of the disk such as 10%, or a size such as 5GiB")

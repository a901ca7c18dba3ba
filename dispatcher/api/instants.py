"""Instants as callers write them: RFC 3339, and integer microseconds since the epoch inside."""

from __future__ import annotations

import re
from typing import Final

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from dispatcher.core.instants import since_epoch_us

_MOMENT: Final = TypeAdapter(AwareDatetime)
# Pydantic also takes numbers, days without a time and times without seconds.
_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[-+ ][0-9]{2}:[0-9]{2})"
)
_SECONDS: Final = slice(17, 19)
_LEAP_SECOND: Final = "60"
_SECOND_US: Final = 1_000_000


def parse(written: str) -> int:
    """Read RFC 3339 with any offset. Digits beyond the microsecond are dropped.

    Raises:
        ValueError: it is none, or no day or time of the calendar.
    """
    if _RFC3339.fullmatch(written) is None:
        raise ValueError("it is not RFC 3339 with an offset, like 2026-01-31T12:00:00Z")
    day, rest = written[:11], written[11:]
    # A "+" that was not percent-encoded arrives as a blank; there is nothing else it could mean.
    text = day + rest.replace(" ", "+")
    # A leap second is the first one of the next minute, as the epoch does not count them.
    leap = text[_SECONDS] == _LEAP_SECOND
    if leap:
        text = f"{text[:17]}59{text[19:]}"
    try:
        moment = _MOMENT.validate_python(text)
    except ValidationError as error:
        raise ValueError("it is no day or time of the calendar, or its offset is none") from error
    return since_epoch_us(moment) + leap * _SECOND_US

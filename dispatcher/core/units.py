"""Durations and sizes as people write them: `30s`, `1h30m`, `64KiB`; read alike everywhere.

Settings, headers of messages and options of the command line are all read here. Amounts are whole:
a fraction is written in the next smaller unit (`1500ms`). Every reader gives None for what it
cannot read; who asked says which setting, header or option it was, and checks the range.
"""

from __future__ import annotations

import re
from typing import Final

DURATION_EXPECTED: Final = "such as 500ms, 30s, 5m, 1h30m or 7d; a bare number is milliseconds"
SIZE_EXPECTED: Final = "such as 64KiB, 10MB or 1GiB; a bare number is bytes"

# 19 digits hold every 64-bit number; without a bound a long row of digits would take long to read.
_AMOUNT: Final = "([0-9]{1,19})"
_UNITS_MS: Final = (
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
)
_UNITS_BYTES: Final = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BARE: Final = re.compile(_AMOUNT)
_DURATION: Final = re.compile("".join(f"(?:{_AMOUNT}{unit})?" for unit, _ in _UNITS_MS))
_SIZE: Final = re.compile(f"{_AMOUNT}({'|'.join(_UNITS_BYTES)})")


def duration_ms(text: str) -> int | None:
    """Read a duration: amounts with units, the largest unit first, or a bare number.

    Returns milliseconds, 0 or more; None where it is no duration.
    """
    if _BARE.fullmatch(text) is not None:
        return int(text)
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    total = 0
    for amount, (_, unit_ms) in zip(found.groups("0"), _UNITS_MS, strict=True):
        total += int(amount) * unit_ms
    return total


def size_bytes(text: str) -> int | None:
    """Read a size: an amount with a unit, binary (`KiB`) or decimal (`kB`), or a bare number.

    Returns bytes, 0 or more; None where it is no size.
    """
    found = _SIZE.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS_BYTES[found[2]]


def duration_text(milliseconds: int) -> str:
    """Write a duration of 0 or more as `duration_ms` reads it, without loss: `1h30m`, `0ms`."""
    parts = []
    left = milliseconds
    for unit, unit_ms in _UNITS_MS:
        if unit == "w":
            continue  # nobody expects weeks in what is printed
        amount, left = divmod(left, unit_ms)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0ms"

"""Colours of a terminal: what is written around a text so that it stands out.

Only what this module writes is obeyed by the terminal: texts are cleaned before they get here.
"""

from __future__ import annotations

import os
from typing import Final

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "reverse": "7",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}
_WORDS: Final = {
    "dead": "red",
    "failing": "red",
    "held": "red",
    "error": "red",
    "failed": "red",
    "expired": "red",
    "away": "red",
    "free": "red",
    "delivered": "green",
    "succeeded": "green",
    "live": "green",
    "ok": "green",
    "in_flight": "cyan",
    "running": "cyan",
    "environment": "cyan",
    "file": "cyan",
    "scheduled": "yellow",
    "backs off": "yellow",
    "joining": "yellow",
    "opening": "yellow",
    "leaving": "yellow",
    "probing": "yellow",
    "attempted": "yellow",
    "warning": "yellow",
    "paused": "yellow",
    "cancelled": "yellow",
}
"""Words that stand out where they are the whole cell."""


def has_colours() -> bool:
    """Say whether colours are wanted (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style_of(text: str) -> str | None:
    """Return the style of a word that has one of its own."""
    return _WORDS.get(text)


def styled(text: str, style: str | None) -> str:
    """Return a text in a style, or in several with a blank between them; as it is where no
    colours are wanted."""
    if not style or not text or not has_colours():
        return text
    codes = ";".join(_CODES[name] for name in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"

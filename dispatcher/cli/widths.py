"""How wide a text is on a terminal, and texts that are made to fit.

Characters of East Asian scripts take two cells, so the number of characters will not do.
"""

from __future__ import annotations

from typing import Final

ELLIPSIS: Final = "…"


def width_of(text: str) -> int:
    """Return how many cells a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # loads a table

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return a text of at most that many cells. An ellipsis stands for its middle: the end of a
    host or of a path tells as much as its beginning. The scheme goes first: a destination without
    one is `http`, and for `https://` the ellipsis stands where there is room for the whole host."""
    if width_of(text) <= width:
        return text
    host = text.removeprefix("http://")
    if width_of(host) <= width:
        return host
    text = host.removeprefix("https://")
    if width_of(text) < width:
        return ELLIPSIS + text
    if width <= 1:
        return ELLIPSIS[:width]
    tail = (width - 1) // 2
    return f"{_head(text, width - 1 - tail)}{ELLIPSIS}{_head(text[::-1], tail)[::-1]}"


def cut_end(text: str, width: int) -> str:
    """Return a text of at most that many cells, without its end: for sentences."""
    if width_of(text) <= width:
        return text
    return f"{_head(text, width - 1)}{ELLIPSIS}" if width > 0 else ""


def padded(text: str, width: int, *, is_right: bool = False) -> str:
    """Return a text with blanks up to that many cells, before it or after it."""
    blanks = " " * max(width - width_of(text), 0)
    return blanks + text if is_right else text + blanks


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[: max(width, 0)]
    taken = 0
    for place, character in enumerate(text):
        taken += width_of(character)
        if taken > width:
            return text[:place]
    return text

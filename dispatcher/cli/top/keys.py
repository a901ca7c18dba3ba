"""What was pressed: bytes of a terminal in, names of keys out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

UP: Final = "up"
DOWN: Final = "down"
PAGE_UP: Final = "page up"
PAGE_DOWN: Final = "page down"
HOME: Final = "home"
END: Final = "end"
ENTER: Final = "enter"
ESCAPE: Final = "escape"
ERASE: Final = "erase"

_SEQUENCES: Final = {
    "\x1b[A": UP,
    "\x1bOA": UP,
    "\x1b[B": DOWN,
    "\x1bOB": DOWN,
    "\x1b[5~": PAGE_UP,
    "\x1b[6~": PAGE_DOWN,
    "\x1b[H": HOME,
    "\x1bOH": HOME,
    "\x1b[1~": HOME,
    "\x1b[F": END,
    "\x1bOF": END,
    "\x1b[4~": END,
    "\r": ENTER,
    "\n": ENTER,
    "\x1b": ESCAPE,
    "\x7f": ERASE,
    "\x08": ERASE,
}
_KEY: Final = re.compile(r"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.S)


def pressed(data: bytes) -> Iterator[str]:
    """Yield the keys in what a terminal sent: a character, or one of the names above. What is no
    key of ours is left out."""
    for found in _KEY.findall(data.decode("utf-8", "replace")):
        if found in _SEQUENCES:
            yield _SEQUENCES[found]
        elif len(found) == 1 and found.isprintable():
            yield found

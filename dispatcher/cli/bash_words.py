"""Words of Bash, which splits them at colons: `https://a` is three, of which it completes the last.

Before the parser sees them they are put together again; of what it finds Bash is given the part
that it replaces, which is what stands after the last colon.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Final

from dispatcher.cli import COMPLETION_VARIABLE

_WORDS: Final = "COMP_WORDS"
_PLACE: Final = "COMP_CWORD"
_ASKED: Final = "complete_bash"


def joined(words: Sequence[str], place: int) -> tuple[list[str], int, str]:
    """Put words together again.

    Args:
        words: as Bash has them.
        place: which of them is completed.

    Returns:
        The words up to that one, its place, and what of it stands before its last colon.
    """
    found: list[str] = []
    before = ""
    for word in words[: place + 1]:
        if found and (word == ":" or found[-1].endswith(":")):
            before = found[-1] if word != ":" else found[-1] + word
            found[-1] += word
        else:
            found.append(word)
            before = ""
    return found, len(found) - 1, before


@contextmanager
def whole_words(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Let the parser see whole words, and Bash the rest of what is found."""
    if environment.get(COMPLETION_VARIABLE) != _ASKED or ":" not in environment.get(_WORDS, ""):
        yield
        return
    words, place, before = joined(
        environment[_WORDS].split("\n"), int(environment.get(_PLACE) or 0)
    )
    environment[_WORDS], environment[_PLACE] = "\n".join(words), str(place)
    found = io.StringIO()
    try:
        with redirect_stdout(found):
            yield
    finally:
        for line in found.getvalue().splitlines():
            sys.stdout.write(f"{line.removeprefix(before)}\n")

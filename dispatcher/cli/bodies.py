"""Bodies as commands print them: all of one byte for byte, or its beginning as text."""

from __future__ import annotations

import codecs
import sys
from typing import Final

from dispatcher.cli import output
from dispatcher.cli.client import Api, Json

SHOWN_BYTES: Final = 64 * 1024


def print_bytes(api: Api, path: str, query: Json | None = None) -> None:
    """Print what is at a path, byte for byte."""
    with api.download_bytes(path, query) as pieces:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def print_start(api: Api, path: str, *, size_bytes: int, rest: str) -> None:
    """Print the beginning of the body that is at a path, as text; `rest` says how to get all."""
    with api.download_bytes(path, {"limit": SHOWN_BYTES}) as pieces:
        print_text(as_text(b"".join(pieces), size_bytes, rest))


def as_text(body: bytes, size_bytes: int, rest: str) -> str:
    """Return the beginning of a body of `size_bytes` as text, and `rest` where it is not all."""
    is_whole = len(body) == size_bytes
    try:
        # A character that is cut in two at the end of a part is none that is wrong.
        text = codecs.getincrementaldecoder("utf-8")().decode(body, final=is_whole)
    except UnicodeDecodeError:
        return f"not text; {rest}"
    return text if is_whole else f"{text}\n… {rest}"


def print_text(text: str) -> None:
    """Print a stranger's text, indented."""
    for line in text.splitlines():
        print(f"  {output.clean(line)}")

"""How far a response has come, and how much of one is worth reading."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

HEAD_BYTES: Final = 64 * 1024
"""A head may have this many bytes, the interim (1xx) answers before it included; so may everything
else that brings no byte of a body (chunk extensions, trailers)."""

BODY_BYTES: Final = 1024 * 1024
"""After this much of a body the rest is not read, and the status counts."""

FRAMING_LINES: Final = 4096
"""Nor after so many lines between the chunks of a body, two for each chunk: some milliseconds."""

WHOLE_FRAMING_LINES: Final = 65_536
"""The same for a body that is needed whole: 16 MB in chunks of 512 bytes."""

START_BYTES: Final = 1024
"""This much of the body of an answer other than 2xx is kept for the dead letter."""


class Progress(Enum):
    """How far a response has come. `DONE`: nothing more is needed, see `Response.reusable`."""

    MORE = auto()
    DONE = auto()
    BROKEN = auto()

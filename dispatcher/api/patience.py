"""How long to wait for something on behalf of somebody who waits for the answer."""

from __future__ import annotations

from typing import Final

_MARGIN: Final = 0.1
_LONGEST_MARGIN_S: Final = 2.0


def in_time(patience_s: float) -> float:
    """A little less than the other side waits (seconds): an answer that comes later is not read."""
    return patience_s - min(patience_s * _MARGIN, _LONGEST_MARGIN_S)

"""Series as a row of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = " "


def spark(points: Sequence[float | None], width: int) -> str:
    """Return the last points as blocks, one each, against the highest of them. A blank stands where
    nothing is known."""
    shown = list(points[-width:]) if width > 0 else []
    most = max((point for point in shown if point is not None), default=0.0)
    return "".join(_block(point, most) for point in shown).rjust(width)


def _block(point: float | None, most: float) -> str:
    if point is None:
        return _UNKNOWN
    if most <= 0 or point <= 0:
        return _BLOCKS[0]
    # Whatever is more than nothing is seen to be.
    return _BLOCKS[max(1, round(point / most * (len(_BLOCKS) - 1)))]

"""Reading single records back, many at a time: neighbours share one read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dispatcher.errors import LogCorrupt
from dispatcher.txlog.frame import (
    DATA,
    HEADER_BYTES,
    decode_header,
    is_intact,
    offset_of,
    segment_of,
)
from dispatcher.txlog.segment import name_of

ReadSegment = Callable[[int, int, int], bytes]
"""Returns from segment (number) up to (size) bytes at (offset)."""

_GAP_BYTES: Final = 16 * 1024
"""Reading this much for nothing costs less than a call of its own."""
_RUN_BYTES: Final = 512 * 1024
_AHEAD_BYTES: Final = 4 * 1024
"""Read behind the last position of a run, whose length is not known before: most records are
smaller."""


def read_records(
    positions: Sequence[int], *, directory: Path, seed: int, largest: int, read: ReadSegment
) -> list[bytes]:
    """Return the payloads at these positions, in the order asked for.

    `largest` is what a record can have at most, in bytes. Raises LogCorrupt when one is not the
    position of an intact record, and what `read` raises.
    """
    payloads: dict[int, bytes] = {}
    for run in _runs(sorted(set(positions))):
        number, start = segment_of(run[0]), offset_of(run[0])
        data = read(number, offset_of(run[-1]) - start + _AHEAD_BYTES, start)
        for position in run:
            at = offset_of(position)
            piece, within = data, at - start
            frame = decode_header(piece, within)
            if frame is not None and len(piece) < frame.stop and frame.length <= largest:
                piece, within = read(number, HEADER_BYTES + frame.length, at), 0
                frame = decode_header(piece, 0)
            path = str(directory / name_of(number))
            if frame is None or not is_intact(piece, frame, seed):
                raise LogCorrupt(path, at, "there is no intact record here")
            if frame.type != DATA:
                raise LogCorrupt(path, at, "the record that was here was lost or never was one")
            payloads[position] = piece[within + HEADER_BYTES : frame.stop]
    return [payloads[position] for position in positions]


def _runs(positions: list[int]) -> list[list[int]]:
    """Group sorted positions that are near enough to be read in one go."""
    runs: list[list[int]] = []
    for position in positions:
        run = runs[-1] if runs else None
        if (
            run is not None
            and segment_of(run[0]) == segment_of(position)
            and position - run[-1] <= _GAP_BYTES
            and position - run[0] <= _RUN_BYTES
        ):
            run.append(position)
        else:
            runs.append([position])
    return runs

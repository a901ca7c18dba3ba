"""What delivery is told when a large body cannot be read back."""

from __future__ import annotations

import pytest

from dispatcher.build import is_compiled
from dispatcher.errors import LogBusy, LogCorrupt, LogError, LogTrimmed, LogUnknown
from dispatcher.queue.bodies.readback import OutgoingBodies
from dispatcher.queue.ports import BodyUnavailable
from dispatcher.queue.records.kinds import RecordError


class Failing:
    """A log in which every read fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def read(self, positions: list[int]) -> list[bytes]:
        """Fail."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (LogBusy("too many open files"), True),
        (LogCorrupt("00000001.seg", 4096, "the checksum does not fit"), False),
        (LogTrimmed("position 1 was trimmed away"), False),
        (LogUnknown("the log is closed"), False),
        (RecordError("a message where a chunk should be"), False),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_body_that_cannot_be_read_says_whether_that_passes(
    error: LogError | RecordError, passing: bool
) -> None:
    """Delivery knows no errors of the log: it waits, or gives up. The partition is told the error
    itself, which says what ends with it."""
    told: list[Exception] = []
    with pytest.raises(BodyUnavailable) as caught:
        await OutgoingBodies(Failing(error), told.append).read([1])
    assert told == ([] if passing else [error])
    assert (caught.value.passing, str(caught.value)) == (passing, str(error))
    # What is compiled does not say what an error came from.
    assert caught.value.__cause__ is error or is_compiled()

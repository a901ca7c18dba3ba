"""How much one connection may do before the others have their turn.

All connections share one thread, and one read brings up to 256 kB: ten thousand requests that are
refused at once, or forty thousand chunks of a byte, are a tenth of a second in which nobody else is
served. So what is done in one callback is counted, in steps, and what is left waits for the next.

Steps and not time: the same bytes are cut at the same places on every machine and in every test. A
step is about a microsecond (measured: a chunk 3 steps in 2.8 µs, a request without an origin 9 in
6.4 µs, header lines of one letter 1 in 1.6 µs), a turn about one millisecond. Only a single head
may take longer than that: it is read in one go, and 64 KiB of the shortest lines are 6 ms.
"""

from __future__ import annotations

from typing import Final

TURN_STEPS: Final = 1024
"""For 64 requests, which is as many as may wait for answers, with heads of 128 bytes."""
_REQUEST_STEPS: Final = 8
_HEAD_BYTES_A_STEP: Final = 16


class Turn:
    """The steps that are left, of `most`. Work takes steps off; below 1 the turn is over."""

    __slots__ = ("most", "steps")

    def __init__(self, most: int = TURN_STEPS) -> None:
        self.most = most
        self.steps = most

    def begin(self) -> Turn:
        """Have all steps again: this is a new callback. Returns itself."""
        self.steps = self.most
        return self

    def spend_request(self, head_bytes: int) -> bool:
        """Take off what reading a request costs, or return False: it has to wait.

        What begins a turn never waits: a head may cost more than a turn has.
        """
        cost = _REQUEST_STEPS + head_bytes // _HEAD_BYTES_A_STEP
        if cost > self.steps and self.steps < self.most:
            return False
        self.steps -= cost
        return True

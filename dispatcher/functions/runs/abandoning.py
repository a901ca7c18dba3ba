"""Runs whose call has ended meanwhile: killed, or cancelled and its time to clean up is over.

Nobody waits for their answer, and such a run may go on until its timeout, in one of the places that
there are for its application. So its connection is closed, and the place is free. A call that
expires is none of them: its run times out by then, and the lane is to hear of that.
"""

from __future__ import annotations

import asyncio

from dispatcher.functions.model import Call, How
from dispatcher.functions.ports import Sender
from dispatcher.functions.runs.under_way import Run, UnderWay


class Abandoning:
    """Of one partition. Runs that are fetched are left: who fetched them answers."""

    __slots__ = ("_ended", "_sender", "_under_way")

    def __init__(self, under_way: UnderWay, sender: Sender) -> None:
        self._under_way = under_way
        self._sender = sender
        self._ended: list[Run] = []

    def ended(self, call: Call) -> None:
        """A call has ended, or is gone. Called in the middle of `apply`: it is seen to soon."""
        run = self._under_way.runs.get(call.key)
        if run is None or run.message is None or call.how is How.EXPIRED:
            return
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._abandon)
        self._ended.append(run)

    def every(self) -> None:
        """Nobody waits for any of them: they are dropped at once, and stay under way."""
        runs = self._under_way.runs.values()
        self._sender.abandon(frozenset(run.message for run in runs if run.message))
        for run in runs:
            run.message = None

    def _abandon(self) -> None:
        """All that ended together: whoever sends looks through all that is under way."""
        ended, self._ended = self._ended, []
        runs = self._under_way.runs
        if self._under_way.is_stopped:
            return
        left = {run.message: run for run in ended if run.message and runs.get(run.key) is run}
        self._sender.abandon(frozenset(left))
        for run in left.values():
            run.message = None
            self._under_way.over(run)

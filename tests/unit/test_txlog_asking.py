"""What is made of the answers of JetStream's API about one stream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from dispatcher.errors import LogBusy
from dispatcher.txlog.nats.asking import Asking, Patience
from dispatcher.txlog.nats.checks import configuration
from dispatcher.txlog.nats.link import Answer, Heard, Silence, Stop

HASTY = Patience(ask_s=0.1, append_s=0.1, again_s=0.001, open_s=0.1)
WANTED = configuration("log", ["log.d"], replicas=3, max_bytes=1 << 30)
FOUND = {"config": WANTED}
NOT_FOUND = {"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}
IN_USE = {"error": {"code": 400, "err_code": 10058, "description": "stream name already in use"}}


class Scripted:
    """A `Link` whose answers are these, in turn; None: there is none."""

    def __init__(self, answers: Sequence[Mapping[str, object] | None]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """See the seam."""
        self.asked.append(subject.split(".")[3])
        answer = self._answers.pop(0)
        if answer is None:
            raise Silence("nobody answers")
        return Answer(json.dumps(answer).encode())

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """See the seam."""
        raise Silence("not asked here")

    async def listen(self, subject: str, heard: Heard) -> Stop:
        """See the seam."""
        raise Silence("not asked here")


async def test_stream_that_others_make_at_the_same_time_is_found() -> None:
    """Whoever is second asks what it is like."""
    link = Scripted([NOT_FOUND, IN_USE, FOUND])
    assert await Asking(link, "log", HASTY).made(WANTED) == FOUND
    assert link.asked == ["INFO", "CREATE", "INFO"]


async def test_stream_that_is_still_being_made_is_asked_for_again_later() -> None:
    """Its making was not answered in time, and servers know its name and not yet the stream: that
    passes, and is no reason to give a partition up."""
    link = Scripted([NOT_FOUND, None, IN_USE, NOT_FOUND])
    with pytest.raises(LogBusy, match="stream not found"):
        await Asking(link, "log", HASTY).made(WANTED)
    assert link.asked == ["INFO", "CREATE", "CREATE", "INFO"]

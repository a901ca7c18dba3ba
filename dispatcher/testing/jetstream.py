"""JetStream in memory, as far as a log asks it: streams of the same rules, without a server.

What is refused, and with which code, is what a real server answers (`tests/conformance` runs the
engine over both). One store may have several links: each is one owner's connection, whose requests
and answers `trouble` loses, delays or doubles.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from dispatcher.txlog.nats.link import Answer, Heard, Silence, Stop

_MANY: Final = 256


class Trouble(Enum):
    """What becomes of a request."""

    NONE = "it is answered"
    LOST = "it never arrives"
    UNANSWERED = "it is done, and the answer is lost"
    LATE = "it is done when whoever asked has given up"
    TWICE = "it is done, and done again later"


@dataclass(slots=True)
class Streams:
    """One stream's messages: subject and bytes by number, and who listens. `last` is the number of
    the last one, also of a stream that is made later."""

    messages: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    last: int = 0
    size_bytes: int = 0
    listeners: list[tuple[str, Heard]] = field(default_factory=list)
    is_full: bool = False
    ends: dict[str, int] = field(default_factory=dict)
    """Number of the last message of each subject."""

    def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> bytes:
        """Store a message if it is as its headers say; returns the acknowledgement."""
        for heard, call in self.listeners:
            if heard == subject:
                call(subject, data)
        expected = headers.get("Nats-Expected-Last-Sequence")
        if expected is not None and int(expected) != self.last:
            return _error(10071, f"wrong last sequence: {self.last}")
        of_subject = headers.get("Nats-Expected-Last-Subject-Sequence")
        if of_subject is not None:
            fences = headers["Nats-Expected-Last-Subject-Sequence-Subject"]
            if int(of_subject) != self._last_of(fences):
                return _error(10071, f"wrong last sequence: {self._last_of(fences)}")
        if self.is_full:
            return _error(10077, "maximum bytes exceeded")
        self.last += 1
        self.messages[self.last] = (subject, data)
        self.ends[subject] = self.last
        self.size_bytes += len(data)
        return json.dumps({"stream": "log", "seq": self.last}).encode()

    def _last_of(self, subject: str) -> int:
        last = self.ends.get(subject, 0)
        return last if last in self.messages else 0

    def asked(self, what: str, fields: Mapping[str, Any]) -> bytes:
        """Answer a request of the API."""
        match what:
            case "CREATE":
                self.config = dict(fields)
                return self._info()
            case "INFO":
                return _error(10059, "stream not found") if self.config is None else self._info()
            case "PURGE":
                for one in [one for one in self.messages if one < fields["seq"]]:
                    self.size_bytes -= len(self.messages.pop(one)[1])
                return b'{"success": true}'
            case _:
                by_subject = fields.get("last_by_subj")
                one = fields["seq"] if by_subject is None else self._last_of(by_subject)
                if one not in self.messages:
                    return _error(10037, "no message found")
                data = base64.b64encode(self.messages[one][1]).decode()
                return json.dumps({"message": {"seq": one, "data": data}}).encode()

    def _info(self) -> bytes:
        state = {
            "first_seq": min(self.messages, default=self.last + 1),
            "last_seq": self.last,
            "bytes": self.size_bytes,
        }
        return json.dumps({"config": self.config, "state": state}).encode()

    def many(self, fields: Mapping[str, Any]) -> list[Answer]:
        """Answer a batched direct get."""
        numbers = [one for one in sorted(self.messages) if one >= fields["seq"]]
        found = [
            Answer(self.messages[one][1], {"Nats-Sequence": str(one)})
            for one in numbers[: min(fields["batch"], _MANY)]
        ]
        return [*found, Answer(b"", {"Status": "204" if found else "404"})]


class StreamsLink:
    """A `Link` to streams in memory. `trouble` is asked what becomes of each publish."""

    def __init__(
        self, streams: Streams, trouble: Callable[[], Trouble] = lambda: Trouble.NONE
    ) -> None:
        self.streams = streams
        self.trouble = trouble
        self._late: list[tuple[str, bytes, Mapping[str, str]]] = []

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """See the seam."""
        await asyncio.sleep(0)
        if subject.startswith("$JS.API.STREAM."):
            what = subject.removeprefix("$JS.API.STREAM.").rpartition(".")[0]
            return Answer(self.streams.asked(what, json.loads(data or b"{}")))
        sent = (subject, data, headers or {})
        trouble = self.trouble()
        if trouble in {Trouble.LATE, Trouble.TWICE}:
            self._late.append(sent)
        if trouble in {Trouble.LOST, Trouble.LATE}:
            raise Silence(trouble.value)
        answer = self.streams.publish(*sent)
        await asyncio.sleep(0)
        if trouble is Trouble.UNANSWERED:
            raise Silence(trouble.value)
        return Answer(answer)

    def deliver_late(self) -> None:
        """Have what is late arrive."""
        late, self._late = self._late, []
        for sent in late:
            self.streams.publish(*sent)

    async def gather(self, subject: str, data: bytes, *, timeout_s: float) -> list[Answer]:
        """See the seam."""
        await asyncio.sleep(0)
        return self.streams.many(json.loads(data))

    async def listen(self, subject: str, heard: Heard) -> Stop:
        """See the seam."""
        listener = (subject, heard)
        self.streams.listeners.append(listener)

        async def stop() -> None:
            self.streams.listeners.remove(listener)

        return stop


def _error(code: int, why: str) -> bytes:
    error = {"code": 400, "err_code": code, "description": why}
    return json.dumps({"error": error, "stream": "log", "seq": 0}).encode()

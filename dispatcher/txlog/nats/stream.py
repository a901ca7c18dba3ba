"""One stream and what is asked of its servers: to make it, to say what it holds, to purge it.

What matters is asked of the stream's leader, which a direct get is not (`reading`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.errors import LogBusy, LogCorrupt, StreamCorrupt
from dispatcher.txlog.nats.answers import NO_MESSAGE, ApiError, parse
from dispatcher.txlog.nats.asking import Asking, Patience
from dispatcher.txlog.nats.batch import Batch, Fence, decode
from dispatcher.txlog.nats.checks import configuration
from dispatcher.txlog.nats.link import Link, Silence


@dataclass(frozen=True, slots=True)
class Held:
    """What a stream holds: messages from `first` to `last` (`first - 1` when it is empty)."""

    first: int
    last: int
    size_bytes: int


class Stream:
    """A stream that is a log. `name` is its name, and `<name>.d` and `<name>.e` are the subjects
    of batches and fences."""

    def __init__(
        self, link: Link, name: str, *, replicas: int, max_bytes: int, patience: Patience
    ) -> None:
        self.link = link
        self.name = name
        self.data = f"{name}.d"
        self.fences = f"{name}.e"
        self._asking = Asking(link, name, patience)
        self._configuration = configuration(
            name, [self.data, self.fences], replicas=replicas, max_bytes=max_bytes
        )

    @property
    def patience(self) -> Patience:
        """How long things are waited for. May be changed at any time."""
        return self._asking.patience

    @patience.setter
    def patience(self, patience: Patience) -> None:
        self._asking.patience = patience

    async def ready(self) -> Held:
        """Make the stream where there is none, and return what it holds. Raises what
        `Asking.made` does."""
        return _held(await self._asking.made(self._configuration))

    async def held(self) -> Held:
        """Return what the leader says the stream holds. Raises LogBusy, LogError."""
        fields = await self._asking.asked("INFO", {})
        if isinstance(fields, ApiError):
            raise self._asking.refusal(fields)
        return _held(fields)

    async def at(self, sequence: int) -> Batch | Fence | str | None:
        """Return what the leader has at a number; None: nothing. Raises LogBusy, LogError."""
        _, found = await self._message({"seq": sequence})
        return found

    async def last_fence(self) -> tuple[int, Fence] | None:
        """Return the last fence and its number, as the leader has them. Raises LogBusy, LogError,
        LogCorrupt."""
        sequence, found = await self._message({"last_by_subj": self.fences})
        if found is None:
            return None
        if not isinstance(found, Fence):
            why = found if isinstance(found, str) else "a batch stands where a fence has to"
            raise self.damaged(sequence, why)
        return sequence, found

    async def _message(self, which: Mapping[str, object]) -> tuple[int, Batch | Fence | str | None]:
        fields = await self._asking.asked("MSG.GET", which)
        if isinstance(fields, ApiError):
            if fields.code == NO_MESSAGE:
                return 0, None
            raise self._asking.refusal(fields)
        message = fields["message"]
        return int(message["seq"]), decode(base64.b64decode(message.get("data", "")))

    async def purge(self, before: int) -> bool:
        """Remove all messages before a number; False: not now."""
        try:
            answer = await self._asking.request("PURGE", {"seq": before})
        except Silence:
            return False
        return isinstance(parse(answer.data), dict)

    def damaged(self, sequence: int, why: str) -> LogCorrupt:
        """Return the error that says which message of the stream is not as it was stored."""
        return StreamCorrupt(f"stream {self.name}", sequence, why)

    def busy(self) -> LogBusy:
        """Return the error that says that nobody answers now."""
        return self._asking.busy()


def _held(fields: Mapping[str, Any]) -> Held:
    state = fields["state"]
    last = int(state["last_seq"])
    first = int(state["first_seq"])
    # An empty stream says 0 and 0, or, once purged, last + 1 and last.
    return Held(max(first, 1), last, int(state["bytes"]))

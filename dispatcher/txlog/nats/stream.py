"""One stream and what is asked of its servers: to make it, to say what it holds, to purge it.

Requests are short and asked again: during an election a long wait for an answer that never comes is
what makes opening a log slow. What matters is asked of the stream's leader, which a direct get is
not (`reading`).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.errors import ConfigError, LogBusy, LogCorrupt, LogError, LogUnavailable
from dispatcher.txlog.nats.answers import NAME_IN_USE, NO_MESSAGE, NO_STREAM, ApiError, parse
from dispatcher.txlog.nats.batch import Batch, Fence, decode, position_of
from dispatcher.txlog.nats.checks import configuration, wrong_in
from dispatcher.txlog.nats.link import Answer, Link, Silence

_LACKING: Final = frozenset({10023, 10047, 10028})
"""No resources, no storage left, too many streams: there is no place to make one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are waited for, in seconds; tests have less of it.

    `ask_s` an answer of the API, `append_s` the verdict on a batch before it is asked for again,
    `again_s` between one try and the next, `open_s` all tries of opening or reading, `unknown_s`
    all tries of a batch.
    """

    ask_s: float = 0.8
    append_s: float = 1.0
    again_s: float = 0.05
    open_s: float = 10.0
    unknown_s: float = 20.0


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
        self.patience = patience
        self._configuration = configuration(
            name, [self.data, self.fences], replicas=replicas, max_bytes=max_bytes
        )

    async def ready(self) -> Held:
        """Make the stream where there is none, and return what it holds.

        Raises:
            LogBusy: its servers do not answer, or have no leader now.
            LogUnavailable: they have no space for it.
            ConfigError: a stream of that name is something else.
        """
        fields = await self._asked("INFO", {})
        if isinstance(fields, ApiError) and fields.code == NO_STREAM:
            fields = await self._asked("CREATE", self._configuration)
            if isinstance(fields, ApiError) and fields.code == NAME_IN_USE:
                fields = await self._asked("INFO", {})  # another process was faster
        if isinstance(fields, ApiError):
            raise self._refusal(fields)
        wrong = wrong_in(fields["config"], self._configuration)
        if wrong is not None:
            raise ConfigError(f"the stream {self.name} cannot be a log: {wrong}")
        return _held(fields)

    async def held(self) -> Held:
        """Return what the leader says the stream holds. Raises LogBusy, LogError."""
        fields = await self._asked("INFO", {})
        if isinstance(fields, ApiError):
            raise self._refusal(fields)
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
        fields = await self._asked("MSG.GET", which)
        if isinstance(fields, ApiError):
            if fields.code == NO_MESSAGE:
                return 0, None
            raise self._refusal(fields)
        message = fields["message"]
        return int(message["seq"]), decode(base64.b64decode(message.get("data", "")))

    async def purge(self, before: int) -> bool:
        """Remove all messages before a number; False: not now."""
        try:
            answer = await self._request("PURGE", {"seq": before})
        except Silence:
            return False
        return isinstance(parse(answer.data), dict)

    def damaged(self, sequence: int, why: str) -> LogCorrupt:
        """Return the error that says which message of the stream is not as it was stored."""
        return LogCorrupt(f"stream {self.name}", sequence, why)

    def busy(self) -> LogBusy:
        """Return the error that says that nobody answers now."""
        return LogBusy(
            f"stream {self.name}: its servers do not answer now. Ask again; if it lasts, look"
            " whether most of them run and reach each other."
        )

    def position(self, sequence: int) -> int:
        """Return where a message begins."""
        return position_of(sequence, 0)

    async def _asked(self, what: str, fields: Mapping[str, object]) -> dict[str, Any] | ApiError:
        """Ask until there is an answer that stays one. Raises LogBusy."""
        until = asyncio.get_running_loop().time() + self.patience.open_s
        while True:
            try:
                answer = await self._request(what, fields)
            except Silence:
                found = None
            else:
                found = parse(answer.data)
            if found is not None and not _is_passing(found):
                return found
            if asyncio.get_running_loop().time() >= until:
                raise self.busy()
            await asyncio.sleep(self.patience.again_s)

    async def _request(self, what: str, fields: Mapping[str, object]) -> Answer:
        data = json.dumps(fields).encode() if fields else b""
        subject = f"$JS.API.STREAM.{what}.{self.name}"
        return await self.link.request(subject, data, timeout_s=self.patience.ask_s)

    def _refusal(self, error: ApiError) -> LogError:
        text = f"stream {self.name}: {error.why} ({error.code})"
        if error.code in _LACKING:
            return LogUnavailable(f"{text}. Give the servers more storage, and start again.")
        return LogError(f"{text}. Look at the configuration and the log of the NATS servers.")


def _is_passing(found: dict[str, Any] | ApiError) -> bool:
    """No leader, no majority, no meta leader: errors of a cluster that is about to have them."""
    return isinstance(found, ApiError) and found.code in {0, 10008, 10009, 10118}


def _held(fields: Mapping[str, Any]) -> Held:
    state = fields["state"]
    last = int(state["last_seq"])
    first = int(state["first_seq"])
    # An empty stream says 0 and 0, or, once purged, last + 1 and last.
    return Held(max(first, 1), last, int(state["bytes"]))

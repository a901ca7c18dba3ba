"""Requests of JetStream's API about one stream, asked until there is an answer that stays one.

Requests are short and asked again: during an election a long wait for an answer that never comes is
what makes opening a log slow. They are answered by the stream's leader.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dispatcher.errors import ConfigError, LogBusy, LogError, LogUnavailable
from dispatcher.txlog.nats.answers import NAME_IN_USE, NO_STREAM, ApiError, parse
from dispatcher.txlog.nats.checks import wrong_in
from dispatcher.txlog.nats.link import Answer, Link, Silence

_LACKING: Final = frozenset({10023, 10047, 10028})
"""No resources, no storage left, too many streams: there is no place to make one."""
_NO_PEERS: Final = 10005
_PASSING: Final = frozenset({0, _NO_PEERS, 10008, 10009, 10118})
"""No leader, no majority, no meta leader, not as many servers as a stream has copies: errors of a
cluster that is about to have them."""


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


class Asking:
    """Asks about the stream `name`. `patience` may be changed at any time."""

    def __init__(self, link: Link, name: str, patience: Patience) -> None:
        self.link = link
        self.name = name
        self.patience = patience

    async def made(
        self,
        configuration: Mapping[str, object],
        first: Callable[[], Awaitable[int]] | None = None,
    ) -> Mapping[str, Any]:
        """Make the stream where there is none, and return what the leader says of it. The numbers
        of a new one begin with what `first` returns, else with 1.

        Raises:
            LogBusy: its servers do not answer, or have no leader now, or are too few.
            LogUnavailable: they have no space for it.
            ConfigError: a stream of that name is something else.
            Exception: what `first` raised.
        """
        fields = await self.asked("INFO", {})
        if isinstance(fields, ApiError) and fields.code == NO_STREAM:
            begin = {} if first is None else {"first_seq": await first()}
            fields = await self.asked("CREATE", {**configuration, **begin})
            if isinstance(fields, ApiError) and fields.code == NAME_IN_USE:
                fields = await self.asked("INFO", {})  # another process was faster
                if isinstance(fields, ApiError) and fields.code == NO_STREAM:
                    raise self.busy(fields)  # or this one, and it is still being made
        if isinstance(fields, ApiError):
            raise self.refusal(fields, reserves=configuration)
        wrong = wrong_in(fields["config"], configuration)
        if wrong is not None:
            raise ConfigError(f"the stream {self.name} cannot be used: {wrong}")
        await self._grow(fields["config"], configuration)
        return fields

    async def _grow(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Let the stream take more, if it is to. One that has less space than it might have goes on
        with that; one that may take less from now on keeps what it has, for servers might remove
        records to make it so."""
        if 0 < found.get("max_bytes", -1) < wanted["max_bytes"]:
            await self.asked("UPDATE", {**found, "max_bytes": wanted["max_bytes"]})

    async def asked(self, what: str, fields: Mapping[str, object]) -> dict[str, Any] | ApiError:
        """Ask until there is an answer that stays one. Raises LogBusy."""
        until = asyncio.get_running_loop().time() + self.patience.open_s
        while True:
            try:
                answer = await self.request(what, fields)
            except Silence:
                found = None
            else:
                found = parse(answer.data)
            if found is not None and not _is_passing(found):
                return found
            if asyncio.get_running_loop().time() >= until:
                raise self.busy(found)
            await asyncio.sleep(self.patience.again_s)

    async def request(self, what: str, fields: Mapping[str, object]) -> Answer:
        """Ask once. Raises Silence."""
        data = json.dumps(fields).encode() if fields else b""
        subject = f"$JS.API.STREAM.{what}.{self.name}"
        return await self.link.request(subject, data, timeout_s=self.patience.ask_s)

    def busy(self, found: object = None) -> LogBusy:
        """Return the error that says that nobody answers now; `found` is what was answered."""
        said = f" ({found.why}, {found.code})" if isinstance(found, ApiError) else ""
        return LogBusy(
            f"stream {self.name}: its servers do not answer now{said}. Ask again; if it lasts, look"
            " whether most of them run, reach each other and have space."
        )

    def refusal(self, error: ApiError, *, reserves: Mapping[str, Any] | None = None) -> LogError:
        """Return the error that says what the servers do not do; `reserves` is the configuration of
        a stream that they do not make."""
        text = f"stream {self.name}: {error.why} ({error.code})"
        if _is_lacking(error):
            size = (reserves or {}).get("max_bytes", 0) >> 20
            needs = f" It reserves {size} MiB on each of its servers." if size > 0 else ""
            return LogUnavailable(
                f"{text}.{needs} Give the servers more storage (`max_file_store`)."
            )
        return LogError(f"{text}. Look at the configuration and the log of the NATS servers.")


def _is_passing(found: dict[str, Any] | ApiError) -> bool:
    return isinstance(found, ApiError) and found.code in _PASSING and not _is_lacking(found)


def _is_lacking(error: ApiError) -> bool:
    return error.code in _LACKING or (
        error.code == _NO_PEERS and "insufficient storage" in error.why
    )

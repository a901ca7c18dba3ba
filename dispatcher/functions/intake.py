"""Calls come in: from a DispatchRequest to one `Created` event, all of its calls or none.

A call that is wrong is refused with a message that names it and its field. What came with an
idempotency key is a fact in the same event: the same body again is answered with the same ids for
as long as that is kept, also when both come at the same moment, and after a crash.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.errors import LogVersionTooNew
from dispatcher.functions.checking import duration_us, first_problem, timeout_ms
from dispatcher.functions.events import Created, Fact, NewCall
from dispatcher.functions.limits import MOST_DISPATCHED, MOST_RUN_BYTES
from dispatcher.functions.machine import KnownFact
from dispatcher.functions.ports import Store
from dispatcher.functions.rules import Rules
from dispatcher.functions.spans import Span
from dispatcher.functions.surface import Dispatcher, Token
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import Call, DispatchRequest

TOO_LARGE: Final = f"The request is larger than {MOST_RUN_BYTES} bytes; send several."
TOKENS: Final = "token"
"""The space of the facts that idempotency keys are."""

_VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = hashlib.sha256().digest_size
_KEY_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """`rules` say how long a call may take. `start_delay_ms` is for how long the first run of
    dispatch-py's calls is put off, `retention_ms` how long idempotency keys are kept."""

    rules: Rules
    start_delay_ms: int
    retention_ms: int


class Intake:
    """Takes calls in, of one partition.

    Args:
        store: where the event goes.
        facts: the machine's.
        next_key: makes the key of one more call.
        id_of: the id of a key.
        now_us: the wall clock, in microseconds since the epoch.
    """

    __slots__ = ("_config", "_facts", "_id_of", "_next_key", "_now_us", "_store", "_under_way")

    def __init__(
        self,
        store: Store,
        facts: Mapping[tuple[str, str], KnownFact],
        config: IntakeConfig,
        *,
        next_key: Callable[[], int],
        id_of: Callable[[int], str],
        now_us: Callable[[], int],
    ) -> None:
        self._store = store
        self._facts = facts
        self._config = config
        self._next_key = next_key
        self._id_of = id_of
        self._now_us = now_us
        self._under_way: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def dispatch(
        self, request: DispatchRequest, caller: Dispatcher, token: Token | None = None
    ) -> Sequence[str]:
        """Store calls; their ids, in the same order, once they are durable.

        Cancelled, they may be stored all the same.

        Raises:
            ConnectError: a call is wrong, there are too many, or the token came with another body.
            Refused: nothing can be stored now.
        """
        check(request)
        if not request.calls:
            return []
        if token is None:
            return await self._store_calls(request, caller)
        return await self._once(request, caller, token)

    async def _once(
        self, request: DispatchRequest, caller: Dispatcher, token: Token
    ) -> Sequence[str]:
        name = f"{caller.application}\x00{token.key}"
        while (other := self._under_way.get(name)) is not None:
            await asyncio.wait([other])
        # A task: who hangs up must not make room for a second one while the event may still come.
        task = asyncio.get_running_loop().create_task(
            self._recall_or_store(request, caller, token, name)
        )
        self._under_way[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))
        return await asyncio.shield(task)

    def _ended(self, name: str, task: asyncio.Task[Sequence[str]]) -> None:
        del self._under_way[name]
        if not task.cancelled():
            task.exception()  # whoever waits for it has it; there may be nobody

    async def _recall_or_store(
        self, request: DispatchRequest, caller: Dispatcher, token: Token, name: str
    ) -> Sequence[str]:
        known = await self._recall(name)
        if known is None:
            return await self._store_calls(request, caller, token, name)
        digest, keys = _unpacked(known)
        if digest != token.body_sha256:
            raise ConnectError(
                Code.ALREADY_EXISTS,
                f"Idempotency-Key {token.key!r} came with another body before: use another key "
                "for other calls.",
            )
        return [self._id_of(key) for key in keys]

    async def _recall(self, name: str) -> bytes | None:
        """What is known of an idempotency key; None: nothing, or not any more."""

        def pick() -> tuple[Span, ...] | None:
            fact = self._facts.get((TOKENS, name))
            is_kept = fact is not None and fact.expires_us > self._now_us()
            return (fact.where,) if fact is not None and is_kept else None

        found = await self._store.read(pick)
        return None if found is None else found[0]

    async def _store_calls(
        self,
        request: DispatchRequest,
        caller: Dispatcher,
        token: Token | None = None,
        name: str = "",
    ) -> Sequence[str]:
        now_us = self._now_us()
        calls = tuple(self._new_call(call, caller, now_us) for call in request.calls)
        facts: tuple[Fact, ...] = ()
        if token is not None:
            value = _packed(token.body_sha256, [call.key for call in calls])
            facts = (Fact(TOKENS, name, value, now_us + self._config.retention_ms * 1000),)
        await self._store.stored(Created(caller.application, calls, facts, caller.trace))
        return [self._id_of(call.key) for call in calls]

    def _new_call(self, call: Call, caller: Dispatcher, now_us: int) -> NewCall:
        asked_us = duration_us(call.delay)
        delay_us = asked_us
        if caller.is_dispatch_py:
            delay_us = max(asked_us, self._config.start_delay_ms * 1000)
        return NewCall(
            key=self._next_key(),
            correlation=0,
            endpoint=call.endpoint,
            function=call.function,
            version=call.version,
            created_us=now_us,
            expires_us=self._config.rules.expires_us(
                now_us, duration_us(call.expiration), asked_us
            ),
            input=call.input.SerializeToString() if call.HasField("input") else b"",
            not_before_us=now_us + delay_us if delay_us else 0,
            timeout_ms=timeout_ms(call),
        )


def check(request: DispatchRequest) -> None:
    """Check what can be wrong with a request.

    Raises:
        ConnectError: it is too large, or one of its calls is wrong.
    """
    if len(request.calls) > MOST_DISPATCHED:
        raise ConnectError(
            Code.RESOURCE_EXHAUSTED,
            f"{len(request.calls)} calls in one request: at most {MOST_DISPATCHED}; send several.",
        )
    if request.ByteSize() > MOST_RUN_BYTES:
        raise ConnectError(Code.RESOURCE_EXHAUSTED, TOO_LARGE)
    problem = first_problem(request.calls)
    if problem is not None:
        code = Code.UNIMPLEMENTED if problem.is_unimplemented else Code.INVALID_ARGUMENT
        raise ConnectError(code, str(problem))


def _packed(digest: bytes, keys: Sequence[int]) -> bytes:
    """The value of a token's fact: a version (1), the SHA-256 of the body, keys of 12 bytes each,
    big-endian."""
    return _VERSION + digest + b"".join(key.to_bytes(_KEY_BYTES, "big") for key in keys)


def _unpacked(value: bytes) -> tuple[bytes, list[int]]:
    """Digest and keys.

    Raises:
        LogVersionTooNew: a newer version wrote it.
    """
    if value[:1] != _VERSION:
        raise LogVersionTooNew("an idempotency key", f"version {value[0]} of its record")
    digest_end = len(_VERSION) + _DIGEST_BYTES
    keys = [
        int.from_bytes(value[start : start + _KEY_BYTES], "big")
        for start in range(digest_end, len(value), _KEY_BYTES)
    ]
    return value[len(_VERSION) : digest_end], keys

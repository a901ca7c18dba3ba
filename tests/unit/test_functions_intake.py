"""Calls come in: what is stored of a request, what is refused, and what is answered again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from dispatcher.errors import Refusal, Refused
from dispatcher.functions.events import Created, Event
from dispatcher.functions.intake import TOKENS, Intake, IntakeConfig
from dispatcher.functions.machine import KnownFact
from dispatcher.functions.ports import Then
from dispatcher.functions.rules import Rules
from dispatcher.functions.spans import Span, span
from dispatcher.functions.surface import Dispatcher, Token
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import Any, Call, DispatchRequest, Duration

SECOND_US = 1_000_000
RULES = Rules(default_expiration_ms=60_000, max_expiration_ms=3_600_000)
CONFIG = IntakeConfig(RULES, start_delay_ms=20, retention_ms=100_000)
APP = Dispatcher("shop")


class Stored:
    """A store that holds what it is given. `holds_back` keeps it until `let_go`; `refuses` is what
    it says instead."""

    def __init__(self) -> None:
        self.events: list[Created] = []
        self.facts: dict[tuple[str, str], KnownFact] = {}
        self.refuses: Refusal | None = None
        self.holds_back = False
        self._blobs: list[bytes] = []
        self._waiting: list[tuple[Event, asyncio.Future[None]]] = []

    def let_go(self) -> None:
        """Store what was held back."""
        self.holds_back = False
        self._store()

    def submit(self, event: Event, then: Then | None = None, *, urgent: bool = False) -> None:
        raise NotImplementedError

    def at_hand(self, spans: Sequence[Span]) -> list[bytes] | None:
        return None

    async def stored(self, event: Event, *, urgent: bool = False) -> None:
        """Store an event, a moment later, whether or not somebody still waits for it then."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((event, done))
        loop.call_soon(self._store)
        await done

    def _store(self) -> None:
        if self.holds_back:
            return
        for event, done in self._waiting:
            if self.refuses is not None:
                done.set_exception(Refused(self.refuses))
                continue
            assert isinstance(event, Created)
            self._apply(event)
            if not done.done():
                done.set_result(None)
        self._waiting.clear()

    def _apply(self, event: Created) -> None:
        self.events.append(event)
        for fact in event.facts:
            assert isinstance(fact.value, bytes)
            self._blobs.append(fact.value)
            where = span(len(self._blobs) - 1, 0, len(fact.value))
            known = KnownFact(fact.space, fact.name, where, fact.expires_us)
            self.facts[fact.space, fact.name] = known

    async def read(self, pick: Callable[[], Sequence[Span] | None]) -> list[bytes] | None:
        """What was stored."""
        spans = pick()
        await asyncio.sleep(0)
        return None if spans is None else [self._blobs[one >> 52] for one in spans]


class Bench:
    """An intake over a store of that kind, with a clock that stands."""

    def __init__(self, config: IntakeConfig = CONFIG) -> None:
        self.store = Stored()
        self.now_us = 1_700_000_000 * SECOND_US
        self._key = 7 << 64 | 1 << 63
        self.intake = Intake(
            self.store,
            self.store.facts,
            config,
            next_key=self._next_key,
            id_of=lambda key: f"{key:024x}",
            now_us=lambda: self.now_us,
        )

    def _next_key(self) -> int:
        self._key += 1
        return self._key

    async def dispatch(
        self, *calls: Call, caller: Dispatcher = APP, token: Token | None = None
    ) -> Sequence[str]:
        """Dispatch calls."""
        return await self.intake.dispatch(DispatchRequest(calls=calls), caller, token)

    async def refusal(self, *calls: Call, token: Token | None = None) -> ConnectError:
        """Dispatch calls that are refused; nothing of them is stored."""
        before = len(self.store.events)
        with pytest.raises(ConnectError) as caught:
            await self.dispatch(*calls, token=token)
        assert len(self.store.events) == before
        return caught.value


def call(function: str = "f", **fields: object) -> Call:
    """A call that is right."""
    made = Call(endpoint="http://127.0.0.1:8000", function=function)
    made.MergeFrom(Call(**fields))  # type: ignore[arg-type]  # names of fields
    return made


def token(body: bytes, key: str = "k") -> Token:
    """A key that comes with a body."""
    return Token(key, hashlib.sha256(body).digest())


async def test_calls_are_one_event_with_ids_in_their_order() -> None:
    """All or none; what applications put into them is kept to the byte."""
    bench = Bench()
    value = Any(type_url="nobody.example/knows", value=b"\x00\xff")
    ids = await bench.dispatch(call("a", input=value, version="v2"), call("b", correlation_id=9))
    (event,) = bench.store.events
    first, second = event.calls
    assert event.application == "shop"
    assert event.facts == ()
    assert [f"{one.key:024x}" for one in event.calls] == ids
    assert (first.function, first.version, first.endpoint) == ("a", "v2", "http://127.0.0.1:8000")
    assert first.input == value.SerializeToString()
    assert (second.function, second.input, second.correlation) == ("b", b"", 0)
    assert first.created_us == second.created_us == bench.now_us
    assert first.not_before_us == 0


async def test_nothing_is_stored_when_there_are_no_calls() -> None:
    """dispatch-go sends empty batches; an idempotency key makes no difference."""
    bench = Bench()
    assert list(await bench.dispatch()) == []
    assert list(await bench.dispatch(token=token(b""))) == []
    assert bench.store.events == []


async def test_first_run_waits_when_the_caller_is_dispatch_py() -> None:
    """Its endpoint must not be called before it has read the ids."""
    bench = Bench()
    await bench.dispatch(call(), caller=Dispatcher("", is_dispatch_py=True))
    assert bench.store.events[0].calls[0].not_before_us == bench.now_us + 20_000
    without = Bench(replace(CONFIG, start_delay_ms=0))
    await without.dispatch(call(), caller=Dispatcher("", is_dispatch_py=True))
    assert without.store.events[0].calls[0].not_before_us == 0


@pytest.mark.parametrize(
    ("expiration", "seconds"),
    [
        (None, 60),
        (Duration(), 60),
        (Duration(seconds=5), 5),
        (Duration(nanos=250_000_000), 0.25),
        (Duration(seconds=3600, nanos=1), 3600),
        (Duration(seconds=2**50), 3600),
    ],
)
async def test_call_expires_when_it_says_or_by_default(
    expiration: Duration | None, seconds: float
) -> None:
    """But not later than the longest time that can be asked for."""
    bench = Bench()
    await bench.dispatch(call(expiration=expiration))
    (made,) = bench.store.events[0].calls
    assert made.expires_us == bench.now_us + int(seconds * SECOND_US)


async def test_default_expiration_is_cut_when_it_is_above_the_longest() -> None:
    """Whoever lowers the longest time need not lower the default too."""
    bench = Bench(replace(CONFIG, rules=replace(RULES, max_expiration_ms=1000)))
    await bench.dispatch(call())
    assert bench.store.events[0].calls[0].expires_us == bench.now_us + SECOND_US


async def test_refusal_names_the_call_and_its_field_and_nothing_is_stored() -> None:
    """Also when all others are right."""
    bench = Bench()
    wrong = Call(endpoint="http://127.0.0.1:8000", function="no name")
    error = await bench.refusal(call(), call(), wrong)
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message.startswith("calls[2].function ")
    nowhere = await bench.refusal(Call(function="f"))
    assert nowhere.message.startswith("calls[0].endpoint ")
    remote = Call(endpoint="arn:aws:lambda:eu-west-1:1:function:f", function="f")
    assert (await bench.refusal(remote)).code is Code.UNIMPLEMENTED


async def test_request_is_refused_when_it_is_larger_than_the_limits() -> None:
    """1 000 calls and 16 000 000 bytes are taken, one more of either is not."""
    bench = Bench()
    assert len(await bench.dispatch(*[call()] * 1000)) == 1000
    error = await bench.refusal(*[call()] * 1001)
    assert error.code is Code.RESOURCE_EXHAUSTED
    assert "1000" in error.message
    half = call(input=Any(value=bytes(8_000_000)))
    excess = DispatchRequest(calls=[half, half]).ByteSize() - 16_000_000
    rest = call(input=Any(value=bytes(8_000_000 - excess)))
    assert DispatchRequest(calls=[half, rest]).ByteSize() == 16_000_000
    await bench.dispatch(half, rest)
    over = await bench.refusal(half, call(input=Any(value=bytes(8_000_001 - excess))))
    assert over.code is Code.RESOURCE_EXHAUSTED
    assert "16000000" in over.message


# Idempotency keys


async def test_same_ids_are_answered_when_the_same_body_comes_again() -> None:
    """Nothing is stored for it; the key is in the event of the calls."""
    bench = Bench()
    first = await bench.dispatch(call(), call(), token=token(b"1"))
    assert list(await bench.dispatch(call(), call(), token=token(b"1"))) == list(first)
    (event,) = bench.store.events
    (fact,) = event.facts
    assert (fact.space, fact.name) == (TOKENS, "shop\x00k")
    assert fact.expires_us == bench.now_us + 100 * SECOND_US


async def test_key_is_refused_when_it_comes_with_another_body() -> None:
    """A slip of the caller's, which would lose the second request without a word."""
    bench = Bench()
    await bench.dispatch(call(), token=token(b"1"))
    error = await bench.refusal(call("g"), token=token(b"2"))
    assert error.code is Code.ALREADY_EXISTS
    assert "'k'" in error.message


async def test_key_belongs_to_its_application_and_ends_with_its_time() -> None:
    """Another application's, another key, or the same after the retention: other calls."""
    bench = Bench()
    first = await bench.dispatch(call(), token=token(b"1"))
    other = await bench.dispatch(call(), caller=Dispatcher("bank"), token=token(b"1"))
    third = await bench.dispatch(call(), token=token(b"1", "k2"))
    bench.now_us += 100 * SECOND_US
    late = await bench.dispatch(call(), token=token(b"1"))
    assert len({*first, *other, *third, *late}) == 4


async def test_calls_are_made_once_when_two_requests_come_at_the_same_moment() -> None:
    """The second waits for what becomes of the first: the same ids, or the conflict."""
    bench = Bench()
    bench.store.holds_back = True
    asked = [
        asyncio.ensure_future(bench.dispatch(call(), token=token(body)))
        for body in (b"1", b"1", b"2")
    ]
    await asyncio.sleep(0.01)
    bench.store.let_go()
    first, second, third = await asyncio.gather(*asked, return_exceptions=True)
    assert not isinstance(first, BaseException)
    assert first == second
    assert isinstance(third, ConnectError)
    assert len(bench.store.events) == 1


async def test_second_request_is_stored_when_the_first_could_not_be() -> None:
    """A key that came with a refusal is free."""
    bench = Bench()
    bench.store.refuses = Refusal(503, "disk_full", "Full.", 5)
    with pytest.raises(Refused):
        await bench.dispatch(call(), token=token(b"1"))
    bench.store.refuses = None
    assert await bench.dispatch(call(), token=token(b"1"))
    assert len(bench.store.events) == 1


async def test_calls_are_made_once_when_the_first_caller_hangs_up() -> None:
    """It asks again at once, while its event is still on its way to the disk."""
    bench = Bench()
    bench.store.holds_back = True
    first = asyncio.ensure_future(bench.dispatch(call(), token=token(b"1")))
    await asyncio.sleep(0.01)
    first.cancel()
    again = asyncio.ensure_future(bench.dispatch(call(), token=token(b"1")))
    await asyncio.sleep(0.01)
    bench.store.let_go()
    ids = await again
    (event,) = bench.store.events
    assert [f"{one.key:024x}" for one in event.calls] == ids


async def test_delay_and_timeout_are_kept() -> None:
    """Without an expiration it has the usual one after its delay; another is counted from now."""
    bench = Bench()
    delay, timeout = Duration(seconds=90), Duration(nanos=1_500_000)
    await bench.dispatch(
        call(delay=delay, timeout=timeout),
        call(delay=delay, expiration=Duration(seconds=100)),
        call(),
    )
    (event,) = bench.store.events
    delayed, brief, plain = event.calls
    now_us = bench.now_us
    assert (delayed.not_before_us, delayed.timeout_ms) == (now_us + 90 * SECOND_US, 2)
    assert delayed.expires_us == now_us + 150 * SECOND_US
    assert brief.expires_us == now_us + 100 * SECOND_US
    assert (plain.not_before_us, plain.timeout_ms) == (0, 0)

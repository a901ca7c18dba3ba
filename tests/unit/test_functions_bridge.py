"""Sessions of the bridge: who fetches which call, and what comes of a request that was fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random

import pytest

from dispatcher.core.answer import Answer
from dispatcher.errors import Refused
from dispatcher.functions.bridge.bridge import new_id
from dispatcher.functions.bridge.sessions import Fetched
from dispatcher.functions.events import Ended
from dispatcher.functions.model import How, Phase
from dispatcher.functions.rules import Rules
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import RunRequest, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.testing import loop
from dispatcher.testing.application import FakeApplication, Running, exits, fails, polls
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.keeping import KeepingApplication
from tests.effort import times
from tests.simulation.workload import base_seed

ENDPOINT = "bridge://s"
RULES = Rules(retry_delay_ms=1000, retry_max_delay_ms=8000)


def nobody(_: RunRequest) -> None:
    raise AssertionError("nothing is sent to a session")


class Client:
    """Who polls for a session, one request at a time."""

    def __init__(self, running: Running, session: str = "s", application: str = "app") -> None:
        self.bridge = running.bridge
        self.session = session
        self.application = application

    async def poll(self, wait_s: float = 28.0) -> Fetched | None:
        return await self.bridge.fetch(self.application, self.session, wait_s=wait_s)

    async def fetch(self) -> tuple[Fetched, RunRequest]:
        """A request that is there, or comes."""
        fetched = await self.poll()
        assert fetched is not None
        return fetched, RunRequest.FromString(fetched.body)

    async def answer(self, fetched: Fetched, came: RunResponse | Answer | str) -> bool:
        if isinstance(came, RunResponse):
            came = Answer(200, b"application/proto", None, came.SerializeToString())
        return await self.bridge.answer(self.application, self.session, fetched.id, came)

    def give_up(self, fetched: Fetched) -> bool:
        return self.bridge.give_up(self.application, self.session, fetched.id)


def bench(
    test: Callable[[Running, Client], Awaitable[None]], *, timeout_ms: int = 60_000, most: int = 200
) -> None:
    """Run a test with a runner and a client, and look at what is left."""

    async def main(clock: SimulatedClock) -> None:
        running = Running(
            FakeApplication(nobody), clock, rules=RULES, timeout_ms=timeout_ms, most_out=most
        )
        await test(running, Client(running))
        await asyncio.sleep(1)
        assert not len(running.bridge)
        assert running.lanes.in_flight == 0
        await running.stop()

    loop.run(main)


def attempt(fetched: Fetched) -> int:
    """The number of the attempt, as the application sees it."""
    return int(fetched.head.rpartition(b"X-Dispatcher-Attempt: ")[2])


def test_run_is_fetched_as_a_request_and_its_answer_counts() -> None:
    """Complete, with the session as its host, and not signed."""

    async def test(running: Running, client: Client) -> None:
        (call,) = await running.dispatch("f", endpoint=ENDPOINT)
        fetched, request = await client.fetch()
        assert request.function == "f"
        line, *fields = fetched.head.decode().split("\r\n")
        assert line == "POST /dispatch.sdk.v1.FunctionService/Run HTTP/1.1"
        assert fields[-2:] == ["", ""]
        by_name = dict(field.split(": ", 1) for field in fields[:-2])
        assert by_name["Host"] == "s"
        assert by_name["Content-Type"] == "application/proto"
        assert by_name["Content-Length"] == str(len(fetched.body))
        assert by_name["X-Dispatcher-Message-Id"] == request.dispatch_id
        assert "Signature" not in by_name
        assert by_name["Connect-Timeout-Ms"] == "30000"
        assert await client.answer(fetched, exits(b"42"))
        await running.until(lambda: call.phase is Phase.ENDED)
        assert running.result_of(call).output.value == b"42"
        assert not await client.answer(fetched, exits(b"43"))

    bench(test)


def test_calls_wait_while_nobody_polls() -> None:
    """And none of them is tried, or out, meanwhile."""

    async def test(running: Running, client: Client) -> None:
        calls = await running.dispatch("f", "g", endpoint=ENDPOINT)
        await asyncio.sleep(600)
        assert running.runner.in_flight == 0
        for call in calls:
            fetched, request = await client.fetch()
            assert (request.function, attempt(fetched)) == (call.function, 1)
            assert await client.answer(fetched, exits())
        assert await client.poll(5) is None

    bench(test)


def test_who_polls_first_gets_the_first_call_and_each_call_goes_to_one() -> None:
    """Also when calls come while both wait."""

    async def test(running: Running, client: Client) -> None:
        polling = [asyncio.ensure_future(client.fetch()) for _ in range(3)]
        await asyncio.sleep(1)
        await running.dispatch("f", "g", endpoint=ENDPOINT)
        await asyncio.wait(polling, timeout=1)
        assert [one.done() for one in polling] == [True, True, False]
        assert [one.result()[1].function for one in polling[:2]] == ["f", "g"]
        await running.dispatch("h", endpoint=ENDPOINT)
        await polling[2]
        for one in polling:
            await client.answer(one.result()[0], exits())

    bench(test)


@pytest.mark.parametrize(("timeout_ms", "gone_s"), [(60_000, 30), (5_000, 5)])
def test_request_that_is_not_answered_in_time_is_tried_again(timeout_ms: int, gone_s: int) -> None:
    """After CALL_TIMEOUT, or 30 s where that is longer; what comes later is not wanted."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("f", endpoint=ENDPOINT)
        first, request = await client.fetch()
        began = asyncio.get_running_loop().time()
        second, again = await client.fetch() if gone_s < 28 else await _patient(client)
        assert gone_s < asyncio.get_running_loop().time() - began < gone_s + 2
        assert (attempt(first), attempt(second)) == (1, 2)
        assert again == request
        assert not await client.answer(first, exits())
        assert await client.answer(second, exits())

    bench(test, timeout_ms=timeout_ms)


async def _patient(client: Client) -> tuple[Fetched, RunRequest]:
    assert await client.poll() is None
    return await client.fetch()


def test_request_that_is_given_up_is_tried_again_later() -> None:
    """The attempt has failed; there is one answer only."""

    async def test(running: Running, client: Client) -> None:
        (call,) = await running.dispatch("f", endpoint=ENDPOINT)
        first, _ = await client.fetch()
        assert client.give_up(first)
        assert not client.give_up(first)
        assert await client.poll(0.1) is None
        second, _ = await client.fetch()
        assert attempt(second) == 2
        assert await client.answer(second, exits())
        await running.until(lambda: call.phase is Phase.ENDED)

    bench(test)


def test_request_that_could_not_be_handed_over_is_fetched_again_at_once() -> None:
    """No attempt is spent."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("f", endpoint=ENDPOINT)
        first, _ = await client.fetch()
        running.bridge.give_back("app", "s", first.id)
        second = await client.poll(0.1)
        assert second is not None
        assert attempt(second) == 1
        assert not await client.answer(first, exits())
        assert await client.answer(second, exits())

    bench(test)


@pytest.mark.parametrize("turns", range(6))
def test_poll_that_ends_as_a_request_comes_leaves_it_to_the_next(turns: int) -> None:
    """In whichever turn of the loop that is."""

    async def test(running: Running, client: Client) -> None:
        leaving = asyncio.ensure_future(client.poll())
        await asyncio.sleep(1)
        await running.dispatch("f", endpoint=ENDPOINT)
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        first = None if leaving.cancelled() else leaving.result()
        if first is None:
            first = await client.poll(0.1)
        assert first is not None
        assert attempt(first) == 1
        assert await client.answer(first, exits())

    bench(test)


def test_session_is_an_applications_own() -> None:
    """Another one with the same session fetches and answers its own calls only."""

    async def test(running: Running, client: Client) -> None:
        bank = Client(running, application="bank")
        await running.dispatch("of_app", endpoint=ENDPOINT)
        assert await bank.poll(1) is None
        await running.dispatch("of_bank", endpoint=ENDPOINT, application="bank")
        fetched, request = await client.fetch()
        assert request.function == "of_app"
        assert not await bank.answer(fetched, exits())
        assert not bank.give_up(fetched)
        assert await client.answer(fetched, exits())
        fetched, request = await bank.fetch()
        assert request.function == "of_bank"
        assert not await Client(running, "other", "bank").answer(fetched, exits())
        assert await bank.answer(fetched, exits())

    bench(test)


def test_parent_is_run_through_the_session_before_its_children_and_resumed_before_others() -> None:
    """Its client has to have seen a parent before a child."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("parent", endpoint=ENDPOINT)
        first, request = await client.fetch()
        await client.answer(first, polls("a", "b", "c"))
        seen = [request.dispatch_id]
        fetched, child = await client.fetch()
        assert child.parent_dispatch_id in seen
        await client.answer(fetched, exits())
        await asyncio.sleep(0.1)
        resumed, again = await client.fetch()
        assert (again.function, len(again.poll_result.results)) == ("parent", 1)
        await client.answer(resumed, exits())

    bench(test)


@pytest.mark.parametrize(
    ("came", "after_s"),
    [
        (Answer(503, b"", b"20", b"{}"), 20),
        (Answer(502, b"", None, b""), 1),
        ("it does not begin with HTTP/", 1),
        (fails(Status.TEMPORARY_ERROR), 1),
    ],
)
def test_failed_answers_are_tried_again(came: Answer | RunResponse | str, after_s: float) -> None:
    """As of any other application."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("f", endpoint=ENDPOINT)
        fetched, _ = await client.fetch()
        assert await client.answer(fetched, came)
        began = asyncio.get_running_loop().time()
        fetched, _ = await client.fetch()
        assert after_s * 0.5 <= asyncio.get_running_loop().time() - began <= after_s * 1.5
        assert attempt(fetched) == 2
        assert await client.answer(fetched, exits())

    bench(test)


@pytest.mark.parametrize(
    "came", [Answer(404, b"", None, b"{}"), Answer(200, b"", None, b"", is_whole=False)]
)
def test_final_answers_end_a_call(came: Answer) -> None:
    """A status that stays as it is, and what is too large."""

    async def test(running: Running, client: Client) -> None:
        (call,) = await running.dispatch("f", endpoint=ENDPOINT)
        fetched, _ = await client.fetch()
        assert await client.answer(fetched, came)
        await running.until(lambda: call.phase is Phase.ENDED)
        assert call.how is How.FAILED

    bench(test)


def test_so_many_requests_are_out_at_once_and_no_more() -> None:
    """An answer makes room, and so does what failed."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("a", "b", "c", "d", endpoint=ENDPOINT)
        first, _ = await client.fetch()
        second, _ = await client.fetch()
        assert await client.poll(1) is None
        waiting = asyncio.ensure_future(client.fetch())
        await asyncio.sleep(1)
        assert await client.answer(first, exits())
        third, _ = await waiting
        assert client.give_up(second)
        fourth, _ = await client.fetch()
        assert await client.poll(5) is None
        for fetched in (third, fourth):
            assert await client.answer(fetched, exits())
        fifth, _ = await client.fetch()
        assert await client.answer(fifth, exits())

    bench(test, most=2)


def test_call_that_ends_while_it_is_out_wants_no_answer() -> None:
    """What comes is dropped; others go on."""

    async def test(running: Running, client: Client) -> None:
        call, _ = await running.dispatch("f", "g", endpoint=ENDPOINT)
        fetched, _ = await client.fetch()
        now_us = running.clock.wall_us()
        await running.store.stored(Ended(call.key, How.CANCELLED, b"", now_us))
        assert call.phase is Phase.ENDED
        await client.answer(fetched, exits())
        fetched, request = await client.fetch()
        assert request.function == "g"
        await client.answer(fetched, exits())

    bench(test)


def test_call_that_ends_between_its_turn_and_its_message_is_nobodys() -> None:
    """Who polls gets the next one."""

    async def test(running: Running, client: Client) -> None:
        call, _ = await running.dispatch("f", "g", endpoint=ENDPOINT)
        running.store.machine.calls.pop(call.key)
        fetched, request = await client.fetch()
        assert request.function == "g"
        await client.answer(fetched, exits())

    bench(test)


def test_throttled_function_rests_and_is_fetched_after_that() -> None:
    """Without anything else that happens."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("f", "f", endpoint=ENDPOINT)
        fetched, _ = await client.fetch()
        throttled = fails(Status.THROTTLED).SerializeToString()
        await client.answer(fetched, Answer(200, b"application/proto", b"3", throttled))
        began = asyncio.get_running_loop().time()
        for _ in range(2):
            fetched, _ = await client.fetch()
            assert asyncio.get_running_loop().time() - began >= 2.9
            await client.answer(fetched, exits())

    bench(test)


def test_nothing_is_fetched_once_the_server_stops() -> None:
    """Who waits is let go, and answers still count."""

    async def test(running: Running, client: Client) -> None:
        (call,) = await running.dispatch("f", endpoint=ENDPOINT)
        fetched, _ = await client.fetch()
        waiting = asyncio.ensure_future(client.poll())
        await asyncio.sleep(1)
        running.runner.close()
        running.bridge.close()
        assert await waiting is None
        with pytest.raises(Refused):
            await client.poll()
        assert await client.answer(fetched, exits())
        await running.until(lambda: call.phase is Phase.ENDED)

    bench(test)


def test_request_that_is_out_is_known_by_its_id() -> None:
    """As an attempt is that was sent."""

    async def test(running: Running, client: Client) -> None:
        await running.dispatch("f", endpoint=ENDPOINT)
        fetched, request = await client.fetch()
        under_way = running.bridge.under_way(request.dispatch_id.encode())
        assert under_way is not None
        assert under_way[1] == 30_000
        assert running.bridge.under_way(b"other") is None
        await client.answer(fetched, exits())

    bench(test)


def test_ids_are_long_and_never_the_same() -> None:
    """Who knows a session does not know a request of it."""
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(one) for one in ids} == {32}


def test_every_call_ends_whatever_clients_do() -> None:
    """They hang up at any time, forget requests, give them up, answer late, twice or nonsense: no
    call is lost, none is out twice at once, and nothing is left over."""
    seed = base_seed()
    for number in range(times(8)):
        bench(partial(_chaos, Random(seed + number)), most=5)


async def _chaos(random: Random, running: Running, client: Client) -> None:
    out: set[str] = set()

    async def behave() -> None:
        while any(call.phase is not Phase.ENDED for call in calls):
            polling = asyncio.ensure_future(client.poll(random.choice([0, 0.01, 5])))
            if random.random() < 0.3:
                await _some_turns(random)
                polling.cancel()
            await asyncio.wait([polling])
            fetched = None if polling.cancelled() else polling.result()
            if fetched is not None:
                await react(fetched)

    async def react(fetched: Fetched) -> None:
        request = RunRequest.FromString(fetched.body)
        call = request.dispatch_id
        assert call not in out
        out.add(call)
        what = random.choice(["answer", "answer", "twice", "late", "back", "up", "nonsense"])
        await asyncio.sleep(31 if what == "late" else random.random())
        out.discard(call)
        match what:
            case "back":
                running.bridge.give_back("app", "s", fetched.id)
            case "up":
                assert client.give_up(fetched)
            case "nonsense":
                assert await client.answer(fetched, "it is none")
            case _:
                answer = random.choice(answers if request.function == "f" else answers[:2])
                is_wanted = await client.answer(fetched, answer)
                assert is_wanted is (what != "late")
                if what == "twice":
                    assert not await client.answer(fetched, exits())

    answers = [exits(), fails(Status.TEMPORARY_ERROR), polls("c", "c"), polls(wait_s=1)]
    calls = await running.dispatch(*["f"] * 5, endpoint=ENDPOINT)
    async with asyncio.timeout(3000):
        await asyncio.gather(*(behave() for _ in range(4)))


async def _some_turns(random: Random) -> None:
    for _ in range(random.randrange(8)):
        await asyncio.sleep(0)


def test_state_that_an_application_keeps_is_left_out() -> None:
    """As over HTTP; when it has lost it, it says so, and gets it."""

    async def test(running: Running, client: Client) -> None:
        process = KeepingApplication(30)
        lacking = ConnectError(Code.FAILED_PRECONDITION, "not here")
        (call,) = await running.dispatch("f", endpoint=ENDPOINT)
        while call.phase is not Phase.ENDED:
            fetched, request = await client.fetch()
            if call.step == 20:
                process.kept.clear()
            reply = process.answer(request)
            json = Answer(lacking.http_status, b"application/json", None, lacking.body())
            assert await client.answer(fetched, reply or json)
            await asyncio.sleep(1)
        assert running.result_of(call).output.value == b"30"
        assert process.misses == 1
        assert process.hits > 10

    bench(test)

"""Results by reference: which are kept, who is told them, and for how long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.functions import limits
from dispatcher.functions.deciding.keeping import to_keep
from dispatcher.functions.events import Created, NewCall, Polled
from dispatcher.functions.ids import call_id
from dispatcher.functions.model import Call, Phase, Result
from dispatcher.functions.runs.asking import Targets
from dispatcher.functions.spans import span
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import CallResult, RecallRequest, RunRequest, RunResponse
from dispatcher.protocol.signing import Signer
from dispatcher.protocol.statuses import Status
from dispatcher.testing.application import (
    ENDPOINT,
    SIGNING_KEY,
    FakeApplication,
    Running,
    an_any,
    exits,
    fails,
    polls,
)
from dispatcher.testing.calls import KEY, a_resumed_call
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


def name(number: int) -> str:
    """The id of a child of `a_resumed_call`, counted from 0."""
    return call_id(1, KEY + 1 + number)


def with_kept(*sizes: int, results: tuple[int, ...] = (5,)) -> Call:
    """A call that keeps results of these sizes, of children with higher keys."""
    call = a_resumed_call(results=results)
    call.kept = tuple(
        Result(number, KEY + 100 + number, span(9, 0, size), is_error=False)
        for number, size in enumerate(sizes)
    )
    return call


def test_what_was_delivered_is_kept_once() -> None:
    """Whatever the order in which it is named, and however often; what is kept may be named
    again."""
    call = with_kept(7, results=(5, 5, 5))
    assert to_keep(call, 2, []) == ()
    assert to_keep(call, 3, [name(2), name(0), name(2)]) == (KEY + 3, KEY + 1)
    assert to_keep(call, 3, [call_id(1, KEY + 100), name(1)]) == (KEY + 2,)


@pytest.mark.parametrize("what", [name(1), name(50), "", "no id", call_id(1, 5)])
def test_what_was_not_delivered_cannot_be_kept(what: str) -> None:
    """There is a second result, but the run was not given it."""
    why = to_keep(a_resumed_call(results=(5, 5)), 1, [name(0), what])
    assert why == f"the poll keeps {what!r}, which is no result that this run was given"


def test_more_than_a_call_keeps_is_refused() -> None:
    """The message names the limit; up to it all is well."""
    most = limits.MOST_KEPT_BYTES // 15_000_000 * 15_000_000
    call = with_kept(*[15_000_000] * (most // 15_000_000), results=(limits.MOST_KEPT_BYTES - most,))
    assert to_keep(call, 1, [name(0)]) == (KEY + 1,)
    call = with_kept(*[15_000_000] * (most // 15_000_000), results=(15_000_000,))
    assert "256000000 is the most" in to_keep(call, 1, [name(0)])
    assert to_keep(with_kept(*[1] * (limits.MOST_KEPT - 1)), 1, [name(0)]) == (KEY + 1,)
    assert "10000 is the most" in to_keep(with_kept(*[1] * limits.MOST_KEPT), 1, [name(0)])


def keeping(*ids: str, **more: float) -> RunResponse:
    """A poll that keeps results, and waits."""
    answer = polls(wait_s=more.get("wait_s", 1))
    answer.poll.keep.extend(ids)
    return answer


class Script:
    """An application: `f` answers what its script says, in turn; others exit with `sizes` bytes."""

    def __init__(self, *answers: RunResponse | None, sizes: int = 100_000) -> None:
        self.answers: Iterator[RunResponse | None] = iter(answers)
        self.sizes = sizes
        self.given: list[RunRequest] = []

    def __call__(self, request: RunRequest) -> RunResponse:
        if request.function != "f":
            return exits(request.function.encode() * self.sizes)
        self.given.append(request)
        answer = next(self.answers)
        if answer is None:  # it keeps all that it was given
            return keeping(*[result.dispatch_id for result in request.poll_result.results])
        return answer


def results(script: Script) -> list[CallResult]:
    """All that `f` was given, in order."""
    return [one for request in script.given for one in request.poll_result.results]


def asking(script: Script, *names: str) -> RecallRequest:
    """What the last run of `f` may ask for."""
    last = script.given[-1]
    return RecallRequest(
        dispatch_id=last.dispatch_id, permit=last.poll_result.permit, results=names
    )


def test_run_asks_for_what_its_call_keeps() -> None:
    """It is told it as it was delivered, in the order of the names. Runs of calls that keep nothing
    have no permit."""

    async def main(clock: SimulatedClock) -> None:
        script = Script(polls("a", "b", min_results=2), None, keeping(wait_s=1000))
        running = Running(FakeApplication(script), clock)
        await running.dispatch("f")
        await running.until(lambda: len(script.given) == 3)
        permits = [request.poll_result.permit for request in script.given]
        assert [len(permit) for permit in permits] == [0, 0, 64]
        assert not script.given[2].poll_result.results
        first, second = results(script)
        answer = await running.recalling.recall(
            asking(script, second.dispatch_id, first.dispatch_id)
        )
        assert list(answer.results) == [second, first]
        (kept,) = [event for event in running.store.submitted
                   if isinstance(event, Polled) and event.keep]  # fmt: skip
        assert len(kept.keep) == 2
        await running.stop()

    run(main)


def test_run_that_is_repeated_has_the_same_permit() -> None:
    """Byte for byte, also after a restart of the server."""

    async def main(clock: SimulatedClock) -> None:
        unreachable = fails(Status.TEMPORARY_ERROR)
        script = Script(polls("a"), None, unreachable, keeping(wait_s=1000))
        running = Running(FakeApplication(script), clock)
        await running.dispatch("f")
        await running.until(lambda: len(script.given) == 3)
        await running.stop()
        again = Running(FakeApplication(script), clock, store=running.store.again(), starts=2)
        await again.until(lambda: len(script.given) == 4)
        assert script.given[2] == script.given[3]
        (result,) = results(script)
        answer = await again.recalling.recall(asking(script, result.dispatch_id))
        assert list(answer.results) == [result]
        await again.stop()

    run(main)


@pytest.mark.parametrize(("most_bytes", "times"), [(100_000, 3), (10_000, 5)])
def test_so_much_is_answered_at_once(
    monkeypatch: pytest.MonkeyPatch, most_bytes: int, times: int
) -> None:
    """And one in any case; who asks again for the rest gets it."""
    monkeypatch.setattr("dispatcher.functions.runs.recalling.RECALLED_BYTES", most_bytes)

    async def main(clock: SimulatedClock) -> None:
        names = [f"f{number}" for number in range(5)]
        script = Script(polls(*names, min_results=5), None, keeping(wait_s=1000), sizes=20_000)
        running = Running(FakeApplication(script), clock)
        await running.dispatch("f")
        await running.until(lambda: len(script.given) == 3)
        ids = [result.dispatch_id for result in results(script)]
        found: list[CallResult] = []
        count = 0
        while len(found) < 5:
            answer = await running.recalling.recall(asking(script, *ids[len(found) :]))
            found += answer.results
            count += 1
        assert found == results(script)
        assert count == times  # of 40 kB each
        assert not (await running.recalling.recall(asking(script))).results
        await running.stop()

    run(main)


async def refused(running: Running, request: RecallRequest, code: Code, words: str) -> None:
    """It is refused, and the message says why."""
    with pytest.raises(ConnectError, match=words) as found:
        await running.recalling.recall(request)
    assert found.value.code is code


def test_nobody_else_is_told() -> None:
    """A permit is for one call: not for another one, not for none, and made up it is none."""

    async def main(clock: SimulatedClock) -> None:
        script = Script(polls("a"), None, keeping(wait_s=1000))
        running = Running(FakeApplication(script), clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: len(script.given) == 3)
        (result,) = results(script)
        other = call_id(1, call.key + 1)
        permit = script.given[-1].poll_result.permit
        for shown, about in (
            (b"", call_id(1, call.key)),
            (bytes(64), call_id(1, call.key)),
            (permit[:-1], call_id(1, call.key)),
            (permit, other),
            (permit, ""),
        ):
            asked = RecallRequest(dispatch_id=about, permit=shown, results=[result.dispatch_id])
            await refused(running, asked, Code.PERMISSION_DENIED, "no permit")
        await refused(
            running, asking(script, call_id(1, call.key + 50)), Code.NOT_FOUND, "keeps no result"
        )
        await refused(running, asking(script, "x" * 500), Code.NOT_FOUND, "x{80}'")
        await running.stop()

    run(main)


def test_permit_is_of_any_key_in_force() -> None:
    """While a rotation is under way both; after it the old one's is none."""
    old, new = Signer(SIGNING_KEY), Signer(Ed25519PrivateKey.generate())
    targets = Targets(old)
    permit = targets.permit("call")
    assert (targets.permits("call", permit), targets.permits("other", permit)) == (True, False)
    targets.sign_with(old, new)
    assert targets.permit("call") == permit
    assert targets.permits("call", new.permit("call"))
    targets.sign_with(new)
    assert targets.permit("call") == new.permit("call")
    assert not targets.permits("call", permit)


@pytest.mark.parametrize("end", ["exit", "restart", "tail_call"])
def test_what_is_kept_goes_with_its_call(end: str) -> None:
    """It has ended, begun anew, or become another."""
    last = {
        "exit": exits(),
        "restart": fails(Status.INCOMPATIBLE_STATE),
        "tail_call": exits(),
    }[end]
    if end == "tail_call":
        last.exit.tail_call.function = "f"

    async def main(clock: SimulatedClock) -> None:
        script = Script(polls("a"), None, last, polls(wait_s=1000))
        running = Running(FakeApplication(script), clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: len(script.given) == 3)
        asked = asking(script, results(script)[0].dispatch_id)
        await running.until(lambda: call.phase in (Phase.ENDED, Phase.SUSPENDED))
        await refused(running, asked, Code.NOT_FOUND, "ended or begun anew")
        await running.stop()

    run(main)


def test_poll_that_keeps_what_it_was_not_given_ends_the_call() -> None:
    """Its state could not be used."""

    async def main(clock: SimulatedClock) -> None:
        script = Script(polls("a"), keeping(call_id(1, KEY)))
        running = Running(FakeApplication(script), clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED)
        error = running.result_of(call).error
        assert error.type == "InvalidResponse"
        assert "which is no result that this run was given" in error.message
        await running.stop()

    run(main)


def test_child_of_another_application_is_told_too() -> None:
    """Calls belong to who dispatched their root; the permit is the run's."""

    async def main(clock: SimulatedClock) -> None:
        script = Script(polls("a"), None, keeping(wait_s=1000))
        running = Running(FakeApplication(script), clock)
        now_us = running.clock.wall_us()
        new = NewCall(
            running.keys.next(), 0, ENDPOINT, "f", "", now_us, now_us + 10**9,
            an_any(b"in").SerializeToString(),
        )  # fmt: skip
        await running.store.stored(Created("another", (new,)))
        await running.until(lambda: len(script.given) == 3)
        (result,) = results(script)
        answer = await running.recalling.recall(asking(script, result.dispatch_id))
        assert list(answer.results) == [result]
        await running.stop()

    run(main)

"""A link between two processes: who asked hears an answer, or learns whether it may have been done.

On simulated time, over connections that can be cut and held up (`testing.peers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dispatcher.errors import Refusal, Refused
from dispatcher.peers.errors import Broken, Failed, NotConnected
from dispatcher.peers.frames import HEAD, MOST_BYTES, Type, head_of
from dispatcher.peers.hello import Hello
from dispatcher.peers.link import MOST_ASKED, MOST_UNSENT_BYTES
from dispatcher.peers.peer import Peer
from dispatcher.peers.serving import Question
from dispatcher.peers.streams import CREDIT_BYTES, Stream
from dispatcher.testing.linked import Linked
from dispatcher.testing.loop import run
from dispatcher.testing.peers import Network

ECHO, LATER, REFUSED, BROKEN, NEVER, COUNTED = range(1, 7)
UP, DOWN = 20, 21
NO = Refusal(503, "moved", "Not now.", retry_after_s=3, is_silent=True)
HELLO_BYTES = HEAD.size + len(Hello(0, 1).encode())


class Two:
    """Processes 0 and 1: the first answers what the second asks."""

    def __init__(self) -> None:
        self.network = Network()
        self.zero = Linked(0, 2, self.network.wires())
        self.one = Linked(1, 2, self.network.wires())
        self.asked: list[bytes] = []
        self.kept: list[Question] = []
        self.cancelled = 0
        self.sums: list[int] = []
        answering = self.zero.answering
        table = self.zero.table
        table.on_ask(ECHO, self._echo)
        table.on_ask(LATER, answering.asking("later", self._later))
        table.on_ask(REFUSED, answering.asking("refused", self._refused))
        table.on_ask(BROKEN, answering.asking("broken", self._broken))
        table.on_ask(NEVER, self._never)
        table.on_tell(ECHO, lambda process, payload: self.asked.append(payload))
        table.on_open(UP, answering.streaming("up", self._up))
        table.on_open(DOWN, answering.streaming("down", self._down))

    @property
    def peer(self) -> Peer:
        """Process 0, as 1 has it."""
        return self.one.links.to(0)

    def _echo(self, question: Question) -> None:
        self.asked.append(question.payload)
        question.answer(question.payload)

    async def _later(self, payload: bytes) -> bytes:
        await asyncio.sleep(1)
        return payload[::-1]

    async def _refused(self, payload: bytes) -> bytes:
        raise Refused(NO)

    async def _broken(self, payload: bytes) -> bytes:
        raise KeyError("a secret")

    def _never(self, question: Question) -> None:
        self.kept.append(question)
        question.on_cancel = self._count_cancel

    def _count_cancel(self) -> None:
        self.cancelled += 1

    async def _up(self, stream: Stream) -> None:
        total = 0
        async for piece in stream:
            total += len(piece)
            await asyncio.sleep(0.01)
        self.sums.append(total)
        stream.end(str(total).encode() + stream.last)

    async def _down(self, stream: Stream) -> None:
        number = 0
        try:
            while True:
                await stream.send(number.to_bytes(4, "big") * 1024)
                number += 1
        finally:
            self.sums.append(number)


@asynccontextmanager
async def two() -> AsyncIterator[Two]:
    pair = Two()
    await pair.zero.links.start()
    await pair.one.links.start()
    await pair.peer.connected(1)
    await asyncio.sleep(0)
    try:
        yield pair
    finally:
        await pair.one.stop()
        await pair.zero.stop()
        assert not pair.one.failures


def simulated(test: Callable[[Two], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """The same test, on simulated time with two processes that are connected."""

    def tested() -> None:
        async def main(_: object) -> None:
            async with two() as pair:
                await test(pair)

        run(main)

    tested.__name__, tested.__doc__ = test.__name__, test.__doc__
    return tested


@simulated
async def test_questions_are_answered_each_with_its_own_answer(pair: Two) -> None:
    """However many are under way, and whichever is answered first."""
    answers = await asyncio.gather(
        pair.peer.ask(LATER, b"abc"), *(pair.peer.ask(ECHO, b"%d" % one) for one in range(100))
    )
    assert answers == [b"cba", *(b"%d" % one for one in range(100))]
    assert pair.asked == answers[1:]


@simulated
async def test_refusals_come_as_they_were_made(pair: Two) -> None:
    """With status, slug, Retry-After and all."""
    with pytest.raises(Refused) as refused:
        await pair.peer.ask(REFUSED)
    assert refused.value.refusal == NO


@simulated
async def test_an_error_is_told_there_and_not_shown_here(pair: Two) -> None:
    """Who asked hears that there was one; what it says is in the log of the process that had it."""
    with pytest.raises(Failed) as failed:
        await pair.peer.ask(BROKEN)
    assert "secret" not in str(failed.value)
    assert [name for name, _ in pair.zero.failures] == ["broken"]


@simulated
async def test_a_question_or_stream_that_is_not_known_fails_at_once(pair: Two) -> None:
    """A process of a former version says that it does not know it; what is told is passed over."""
    with pytest.raises(Failed):
        await pair.peer.ask(999)
    with pytest.raises(Failed):
        await anext(pair.peer.open(999))
    pair.peer.tell(999, b"x")
    pair.peer.tell(ECHO, b"told")
    await pair.peer.ask(ECHO, b"after")
    assert pair.asked == [b"told", b"after"]


@simulated
async def test_a_question_without_an_answer_in_time_is_broken_and_cancelled_there(
    pair: Two,
) -> None:
    """Whoever waits no more has the other side know it; a late answer is passed over."""
    with pytest.raises(Broken):
        await pair.peer.ask(NEVER, timeout_s=1)
    await pair.peer.ask(ECHO)
    assert pair.cancelled == 1
    pair.kept[0].answer(b"late")
    waiting = asyncio.create_task(pair.peer.ask(LATER, b"ab"))
    assert await waiting == b"ba"


@simulated
async def test_frames_of_a_turn_leave_in_one_write(pair: Two) -> None:
    """A thousand messages of a batch are one write to the socket."""
    end = pair.network.pairs[0].ends[0]
    end.is_held = True
    asking = [asyncio.create_task(pair.peer.ask(ECHO, b"x")) for _ in range(1000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(end.written) == 1
    end.release()
    await asyncio.gather(*asking)


@simulated
async def test_what_was_asked_before_a_loss_is_broken_and_what_had_not_left_was_not_asked(
    pair: Two,
) -> None:
    """`Broken` is said only where the other side may have read it."""
    left = asyncio.create_task(pair.peer.ask(NEVER))
    await asyncio.sleep(0.1)
    pair.network.cut()
    here = asyncio.create_task(pair.peer.ask(ECHO))
    await asyncio.sleep(0)
    with pytest.raises(Broken):
        await left
    with pytest.raises(NotConnected):
        await here
    assert pair.cancelled == 1
    await pair.peer.connected(2)
    assert await pair.peer.ask(ECHO, b"again") == b"again"
    assert pair.one.told == ["connected 0", "lost 0", "connected 0"]


@simulated
async def test_a_process_that_is_away_is_not_asked_and_connected_when_it_is_there(
    pair: Two,
) -> None:
    """With pauses of a second at most, however long it is away."""
    pair.network.is_down = True
    pair.network.cut()
    await asyncio.sleep(0)
    with pytest.raises(NotConnected):
        await pair.peer.ask(ECHO)
    with pytest.raises(NotConnected):
        pair.peer.open(UP)
    with pytest.raises(NotConnected):
        await pair.peer.connected(300)
    pair.network.is_down = False
    await pair.peer.connected(1)
    assert await pair.peer.ask(ECHO, b"x") == b"x"


@simulated
async def test_a_process_that_hangs_is_cut_off(pair: Two) -> None:
    """One that says nothing at all for some seconds; one that only has nothing to say is kept."""
    await asyncio.sleep(3600)
    assert pair.one.told == ["connected 0"]
    asking = asyncio.create_task(pair.peer.ask(NEVER, timeout_s=3600))
    await asyncio.sleep(0)
    pair.network.is_down = True
    pair.network.pairs[0].ends[1].is_held = True
    started = asyncio.get_running_loop().time()
    with pytest.raises(Broken):
        await asking
    assert asyncio.get_running_loop().time() - started < 30
    assert not pair.peer.is_connected


@simulated
async def test_who_reads_too_slowly_is_not_asked_more(pair: Two) -> None:
    """Memory for what another process does not read is bounded, and whoever asks is told so."""
    end = pair.network.pairs[0].ends[0]
    end.is_held = True
    piece = bytes(MOST_BYTES)
    asking = []
    for _ in range(MOST_UNSENT_BYTES // MOST_BYTES):
        asking.append(asyncio.create_task(pair.peer.ask(ECHO, piece)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(NotConnected):
        await pair.peer.ask(ECHO)
    end.release()
    await asyncio.gather(*asking)
    assert await pair.peer.ask(ECHO, b"x") == b"x"


@simulated
async def test_who_answers_too_slowly_is_not_asked_more(pair: Two) -> None:
    """What is under way is bounded on both sides, and the link stays."""
    asking = [asyncio.create_task(pair.peer.ask(NEVER)) for _ in range(MOST_ASKED)]
    await asyncio.sleep(1)
    with pytest.raises(NotConnected):
        await pair.peer.ask(ECHO)
    with pytest.raises(NotConnected):
        pair.peer.open(UP)
    assert len(pair.kept) == MOST_ASKED
    for question in pair.kept:
        question.answer(b"")
    await asyncio.gather(*asking)
    assert await pair.peer.ask(ECHO, b"x") == b"x"
    assert pair.one.told == ["connected 0"]


@simulated
async def test_a_payload_that_is_too_large_is_an_error_here(pair: Two) -> None:
    """It is not sent: the other side would close the link."""
    with pytest.raises(ValueError, match="are the most"):
        await pair.peer.ask(ECHO, bytes(MOST_BYTES + 1))
    assert await pair.peer.ask(ECHO, b"x") == b"x"


@pytest.mark.parametrize(
    "wrong",
    [
        HEAD.pack(MOST_BYTES + 1, Type.ASK, ECHO, 1),
        head_of(Type.ASK, NEVER, 1, 0) * 2,
        head_of(Type.OPEN, UP, 1, 0) * 2,
        head_of(Type.OPEN, UP, 1, 0) + head_of(Type.CREDIT, 0, 1, 8) + b"\xff" * 8,
    ],
)
def test_frames_that_no_process_would_send_close_the_link(wrong: bytes) -> None:
    """It is said why, and the process is connected anew."""

    async def main(_: object) -> None:
        async with two() as pair:
            pair.network.pairs[0].ends[0].write(wrong)
            await asyncio.sleep(0.1)
            assert pair.zero.told[1].startswith("misused 1")
            await pair.peer.connected(5)
            assert await pair.peer.ask(ECHO, b"x") == b"x"

    run(main)


@simulated
async def test_a_frame_of_a_type_that_is_not_known_is_passed_over(pair: Two) -> None:
    """A later version may say what this one does not need to know."""
    pair.network.pairs[0].ends[0].write(head_of(Type.DATA, 0, 7, 3) + b"abc")  # of no stream
    pair.network.pairs[0].ends[0].write(HEAD.pack(3, 200, 1, 5) + b"abc")
    assert await pair.peer.ask(ECHO, b"x") == b"x"
    assert pair.zero.told == ["connected 1"]


def test_a_stranger_is_cut_off() -> None:
    """Whoever does not begin with a hello, or says that it is a process that there is not."""

    async def main(_: object) -> None:
        async with two() as pair:
            stranger = Linked(5, 6, pair.network.wires())
            await stranger.links.start()
            with pytest.raises(NotConnected):
                await stranger.links.to(0).connected(0)
            await asyncio.sleep(5)
            assert "connected 5" not in pair.zero.told
            await stranger.stop()

    run(main)


def test_a_process_that_starts_again_takes_the_place_of_its_former_link() -> None:
    """What the former one was asked is broken, even where nobody saw it go."""

    async def main(_: object) -> None:
        async with two() as pair:
            pair.one.table.on_ask(NEVER, pair.kept.append)
            asking = asyncio.create_task(pair.zero.links.to(1).ask(NEVER, timeout_s=60))
            await asyncio.sleep(0.1)
            again = Linked(1, 2, pair.network.wires(), incarnation=2)
            again.table.on_ask(ECHO, lambda question: question.answer(b"second"))
            await again.links.start()
            with pytest.raises(Broken):
                await asking
            await again.links.to(0).connected(5)
            await pair.one.links.stop()
            peer = pair.zero.links.to(1)
            await peer.connected(5)
            assert peer.incarnation == 2
            assert await peer.ask(ECHO) == b"second"
            await again.stop()

    run(main)


@simulated
async def test_a_stream_is_read_to_its_end_and_answered(pair: Two) -> None:
    """Ten times what may be under way gets there, and no more than that is in memory on its way."""
    stream = pair.peer.open(UP)
    most = 0
    for _ in range(160):
        await stream.send(bytes(65536))
        most = max(most, stream.untaken_bytes)
    stream.end(b" bytes")
    assert [piece async for piece in stream] == []
    assert stream.last == b"%d bytes" % (160 * 65536)
    assert most <= CREDIT_BYTES + 65536
    assert stream.is_over


@simulated
async def test_whoever_writes_a_stream_waits_for_who_reads_it(pair: Two) -> None:
    """One that is not read takes the memory that is allowed for it, and ends when it is dropped."""
    async with pair.peer.open(DOWN) as stream:
        await asyncio.sleep(10)
        expected = 0
        async for piece in stream:
            assert piece == expected.to_bytes(4, "big") * 1024
            expected += 1
            if expected == 1000:
                break
    await pair.peer.ask(ECHO)
    await asyncio.sleep(0.1)
    assert len(pair.sums) == 1
    assert pair.sums[0] <= 1000 + 2 * CREDIT_BYTES // 4096


@simulated
async def test_streams_break_on_both_sides_with_the_link(pair: Two) -> None:
    """Who reads is told; who writes stops."""
    stream = pair.peer.open(DOWN)
    await anext(stream)
    pair.network.cut()
    with pytest.raises(Broken):
        [_ async for _ in stream]
    await asyncio.sleep(0.1)
    assert len(pair.sums) == 1
    stream.end()
    stream.abort()
    assert not pair.zero.failures


@simulated
async def test_more_of_a_stream_than_was_asked_for_closes_the_link(pair: Two) -> None:
    """A side that does not keep to its credit can't fill the memory of the other one."""
    pair.peer.open(UP)
    await asyncio.sleep(0.1)
    piece = head_of(Type.DATA, 0, 1, CREDIT_BYTES) + bytes(CREDIT_BYTES)
    pair.network.pairs[0].ends[0].write(piece * 3)
    await asyncio.sleep(0.1)
    assert pair.zero.told[1].startswith("misused 1")


@pytest.mark.parametrize("passes", range(0, 60, 1))
def test_a_link_that_is_cut_after_any_byte_tells_who_asked(passes: int) -> None:
    """One answer or error for each question, and an answer only to what was asked."""

    async def main(_: object) -> None:
        async with two() as pair:
            pair.network.pairs[0].ends[passes % 2].passes = passes // 2
            results = await asyncio.gather(
                pair.peer.ask(ECHO, b"a"), pair.peer.ask(ECHO, b"b"), return_exceptions=True
            )
            for sent, result in zip([b"a", b"b"], results, strict=True):
                assert result == sent or isinstance(result, Broken)
                assert result != sent or sent in pair.asked

    run(main)

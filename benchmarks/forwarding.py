"""What it costs to pass a message on to another process, in processor time of both sides.

Two processes on uvloop over a unix socket: one has `--callers` messages of `--size` bytes under way
at once and sends the next when one was answered; the other answers each at once, so that nothing
but the way there and back is measured. An empty question beside it shows what of that the link
itself is. Rounds of both take turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import resource
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import arguments, report
from benchmarks.process import workspace
from dispatcher.core.destination import Origin
from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.core.terms import Terms
from dispatcher.errors import DispatcherError, Refusal
from dispatcher.peers.directory import ByRemainder
from dispatcher.peers.forwarding.elsewhere import Elsewhere
from dispatcher.peers.forwarding.receiving import Receiver
from dispatcher.peers.forwarding.remote import Remote
from dispatcher.peers.hello import Hello
from dispatcher.peers.links import Links
from dispatcher.peers.peer import Peer
from dispatcher.peers.serving import Table
from dispatcher.peers.wires import UnixWires
from dispatcher.queue.ports import Acceptor, Receipt, Upload
from dispatcher.telemetry.supervisor import Supervisor

_EMPTY: Final = 9999
_HEAD: Final = b"POST /orders HTTP/1.1\r\nHost: shop.example.com\r\nContent-Type: text/plain\r\n"


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of a message, of the side that sends and the one that answers."""

    sends_us: float
    answers_us: float


def _died(name: str, error: BaseException) -> None:
    raise SystemExit(f"{name}: {error!r}")


class _Silent:
    """Nobody is told of connections."""

    def peer_connected(self, process: int) -> None:
        """See `links.Observer`."""

    def peer_lost(self, process: int, reason: str) -> None:
        """See `links.Observer`."""

    def peer_misused(self, process: int | None, reason: str) -> None:
        """See `links.Observer`."""
        raise SystemExit(reason)


class _AtOnce:
    """Accepts every message at once (as much of `Acceptor` as is asked)."""

    def refusal(self) -> Refusal | None:
        """There is none."""
        return None

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """It has an id now."""
        message.wire_id = b"0000000000010000000000000000"
        receipt.accepted(message)


class _Here:
    """See `receiving.Here`."""

    def __init__(self) -> None:
        self._acceptor: Acceptor = _AtOnce()  # type: ignore[assignment]  # it has what is used

    def arriving(self, number: int) -> Acceptor | None:
        """The same for every partition."""
        return self._acceptor

    def known(self, number: int, keys: Keys) -> int | None:
        """None is."""
        return 0


def _links(process: int, directory: Path, table: Table) -> Links:
    return Links(
        Hello(process, 1),
        range(2),
        UnixWires(directory),
        table,
        _Silent(),
        supervisor=Supervisor(_died),
        random=random.Random(),
        died=_died,
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _answer(directory: Path, pipe: Connection) -> None:
    """The other process: says what it has used whenever it is asked."""

    async def serve() -> None:
        table = Table()
        Receiver(_Here(), _died).enter(table)
        table.on_ask(_EMPTY, lambda question: question.answer(b""))
        links = _links(0, directory, table)
        await links.start()
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def asked() -> None:
            if pipe.recv():
                pipe.send(_cpu_s())
            else:
                ended.set()

        loop.add_reader(pipe.fileno(), asked)
        pipe.send(0.0)
        await ended.wait()
        await links.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


class _Callers:
    """Each sends the next when its last one was answered (`Receipt`, `link.Waiter`)."""

    def __init__(self, count: int, send: Callable[[_Callers], None]) -> None:
        self._left = count
        self._owed = count
        self._send = send
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go(self) -> None:
        """One more, if there is any."""
        if self._left:
            self._left -= 1
            self._send(self)

    def accepted(self, message: Message) -> None:
        """See `Receipt`."""
        self.answered(b"")

    def duplicate(self, message_id: bytes) -> None:
        """See `Receipt`."""

    def refused(self, refusal: Refusal) -> None:
        """See `Receipt`."""
        raise SystemExit(refusal.message)

    def answered(self, payload: bytes) -> None:
        """See `link.Waiter`."""
        self._owed -= 1
        if not self._owed:
            self.done.set_result(None)
        self.go()

    def failed(self, error: DispatcherError) -> None:
        """See `link.Waiter`."""
        raise SystemExit(str(error))


def _forward(remote: Remote, size_bytes: int) -> Callable[[_Callers], None]:
    destination = Origin.parse(b"shop.example.com").destination
    terms, body = Terms(order_key="customer-4711"), b"x" * size_bytes

    def send(callers: _Callers) -> None:
        message = Message(destination, _HEAD, body, timeout_ms=0, accepted_at=1_700_000_000_000_000)
        message.terms = terms
        remote.accept(message, callers)

    return send


def _ask(peer: Peer) -> Callable[[_Callers], None]:
    return lambda callers: peer.begin(_EMPTY, b"", callers)


async def _round(
    send: Callable[[_Callers], None], count: int, callers: int, pipe: Connection
) -> Cost:
    pipe.send(True)
    theirs, ours = pipe.recv(), _cpu_s()
    made = _Callers(count, send)
    for _ in range(callers):
        made.go()
    await made.done
    ours = _cpu_s() - ours
    pipe.send(True)
    theirs = pipe.recv() - theirs
    return Cost(ours / count * 1e6, theirs / count * 1e6)


async def _measure(args: Namespace, directory: Path, pipe: Connection) -> None:
    pipe.recv()
    links = _links(1, directory, Table())
    await links.start()
    peer = links.to(0)
    await peer.connected(10)
    remote = Elsewhere(1, ByRemainder(2), links).of(0)
    assert remote is not None
    sides = {
        f"a message of {args.size} bytes": _forward(remote, args.size),
        "an empty question": _ask(peer),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(args.rounds):
        report.progress(f"round {number + 1} of {args.rounds}")
        for name, send in sides.items():
            costs[name].append(await _round(send, args.count, args.callers, pipe))
    await links.stop()
    rows = []
    for name, found in costs.items():
        sends = report.Series.of([cost.sends_us for cost in found])
        answers = report.Series.of([cost.answers_us for cost in found])
        rows += [(f"{name}, sent", f"{sends:.2f} µs"), (f"{name}, taken", f"{answers:.2f} µs")]
    report.table(rows)


def main(argv: list[str]) -> int:
    """Run the script."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=100_000, help="messages of a round")
    parser.add_argument("--callers", type=int, default=64, help="messages under way at once")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a body")
    args = parser.parse_args(argv)
    report.heading(args.directory, detail=f"{args.callers} callers")
    with workspace(args.directory) as directory:
        ours, theirs = multiprocessing.Pipe()
        other = multiprocessing.get_context("spawn").Process(
            target=_answer, args=(directory, theirs)
        )
        other.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_measure(args, directory, ours))
        finally:
            ours.send(False)
            other.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Time to 202 while an operator pages through a hundred thousand dead letters.

A round is `--seconds` of steady load, then as long with a client that lists page after page
without a pause, or the other way round in every second round. The load is light enough that the
server is not busy by itself: what is seen is how long a message waits behind a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from benchmarks import arguments, nginx, report, wrk
from benchmarks.process import HOST, free_port, workspace
from benchmarks.server import Site, dispatcher
from dispatcher.core.clock import SystemClock
from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.queue.deadletters.burial import Burial
from dispatcher.queue.deadletters.store import DeadLetters
from dispatcher.queue.records.history import encode_attempt
from dispatcher.queue.records.ids import wire_id
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog

_DIED_AT_US = 1_704_067_200_000_000


def main() -> None:
    """Run the rounds and print the comparison."""
    options = _options()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace(options.directory))
        report.heading(
            directory,
            detail=f"{options.rounds} rounds of {options.seconds} s, {options.letters} dead "
            f"letters, pages of {options.limit}",
        )
        sink_port = free_port()
        stack.enter_context(nginx.sink(directory / "sink", sink_port))
        site = Site(directory / "dispatcher", {"WORKER": "64", "DEAD_LETTER_RETENTION": "0"})
        asyncio.run(_bury(site.directory / "deadletter.log", options.letters, options.body))
        stack.enter_context(dispatcher(site))
        kind = wrk.Kind(f"{HOST}:{sink_port}", "/message", options.body)
        script = wrk.mix_script(directory, [kind], pause_ms=options.pause_ms)

        def load(seconds: int) -> wrk.Load:
            result = wrk.run(site.port, script, seconds=seconds, connections=options.connections)
            result.check()
            return result

        load(2)
        alone: list[wrk.Load] = []
        paged: list[wrk.Load] = []
        pages = 0
        for number in range(options.rounds):
            for is_paged in (False, True) if number % 2 == 0 else (True, False):
                if is_paged:
                    with _paging(site.api_port, options.limit) as counted:
                        paged.append(load(options.seconds))
                    pages += counted[0]
                else:
                    alone.append(load(options.seconds))
            report.progress(f"round {number + 1} of {options.rounds}")
        _print(alone, paged, pages)


def _options() -> Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--seconds", type=int, default=6, help="length of each side of a round")
    parser.add_argument("--connections", type=int, default=16, help="callers at once")
    parser.add_argument("--pause-ms", type=int, default=10, help="of a caller between messages")
    parser.add_argument("--body", type=int, default=1024, help="bytes of a body")
    parser.add_argument("--letters", type=int, default=100_000, help="dead letters")
    parser.add_argument("--limit", type=int, default=1000, help="dead letters of a page")
    return parser.parse_args()


class _NoBodies:
    async def read(self, positions: list[int]) -> list[bytes]:
        raise AssertionError("no body is large")


def _failed(error: BaseException) -> None:
    raise SystemExit(f"the dead-letter log could not be made: {error}")


async def _bury(directory: Path, count: int, body_bytes: int) -> None:
    """Make a dead-letter log as a server leaves it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    log = FileLog(directory)
    letters = DeadLetters(
        log,
        _NoBodies(),
        partition=0,
        failed=_failed,
        space_changed=lambda full: None,
        clock=SystemClock(),
        died=lambda name, error: _failed(error),
        supervisor=Supervisor(lambda name, error: _failed(error)),
    )
    await log.open("benchmark", 0, each(letters.visit))
    letters.start()
    destination = Origin.parse(b"dead.example").destination
    head = b"POST /message HTTP/1.1\r\nHost: dead.example\r\nContent-Length: %d\r\n" % body_bytes
    history = encode_attempt(_DIED_AT_US, AttemptResult(404, None, "status 404", 3))
    body = bytes(body_bytes)
    for number in range(count):
        message = Message(destination, head, body, timeout_ms=0, accepted_at=_DIED_AT_US)
        message.position = number + 1
        message.attempt = 1
        message.history = history
        message.wire_id = wire_id(0, 0, message.position)
        burial = Burial(message, "rejected", "status 404", b"", _DIED_AT_US + number)
        letters.bury(burial, lambda: None)
        if number % 1000 == 0:
            await letters.flush()
    await letters.stop()
    await log.close()


@contextlib.contextmanager
def _paging(port: int, limit: int) -> Iterator[list[int]]:
    """List pages until the block ends; the list has their number then."""
    ended = threading.Event()
    counted = [0]

    def page() -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=60)
        following: str | None = None
        while not ended.is_set():
            where = f"/v1/dead-letters?limit={limit}"
            connection.request("GET", where + (f"&cursor={following}" if following else ""))
            following = json.loads(connection.getresponse().read())["next"]
            counted[0] += 1
        connection.close()

    thread = threading.Thread(target=page)
    thread.start()
    try:
        yield counted
    finally:
        ended.set()
        thread.join()


def _print(alone: list[wrk.Load], paged: list[wrk.Load], pages: int) -> None:
    series = report.Series.of
    report.table(
        [
            ("alone: messages/s", f"{series([one.rate for one in alone]):.0f}"),
            ("alone: ms to 202, median", f"{series([one.p50_ms for one in alone]):.2f}"),
            ("alone: ms to 202, p99", f"{series([one.p99_ms for one in alone]):.2f}"),
            ("paged: messages/s", f"{series([one.rate for one in paged]):.0f}"),
            ("paged: ms to 202, median", f"{series([one.p50_ms for one in paged]):.2f}"),
            ("paged: ms to 202, p99", f"{series([one.p99_ms for one in paged]):.2f}"),
            ("pages listed", str(pages)),
        ]
    )


if __name__ == "__main__":
    main()

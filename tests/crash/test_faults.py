"""The real server when the disk fails under it: system calls are made to fail with strace.

strace counts calls for each thread on its own. The log's writer is a thread that does nothing but
write and sync batches, so `when=20` is its twentieth batch; the start and the making of segments
happen on others, and take fewer calls than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.testing.process import ServerProcess
from tests.crash.load import (
    Account,
    Answer,
    Destination,
    Load,
    ask,
    come,
    counts,
    delivered,
    readiness,
    silent,
    until,
)

pytestmark = [pytest.mark.crash, pytest.mark.strace]

Injecting = Callable[..., tuple[str, ...]]
Waiting = tuple[str, asyncio.Future[Answer]]

_QUICK = {"RETRY_DELAY": "60", "RETRY_MAX_DELAY": "400", "RETRYLIMIT": "1000"}
_CALLERS = 16
_WAVES = 60


@pytest.fixture(scope="module")
def injecting() -> Injecting:
    """Make the command to run the server under, from faults as `fdatasync:error=EIO:when=3`; with
    `path`, only calls that concern that file fail, and only they are counted."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")

    def command(*faults: str, path: Path | None = None) -> tuple[str, ...]:
        calls = ",".join(fault.partition(":")[0] for fault in faults)
        options = [option for fault in faults for option in ("-e", f"inject={fault}")]
        quiet = ("-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null")
        only = () if path is None else ("-P", str(path))
        return (program, *quiet, *only, "-e", f"trace={calls}", *options)

    trial = [*command("fdatasync:error=EIO"), "true"]
    result = subprocess.run(trial, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        pytest.skip(f"strace may not attach here: {result.stderr.strip()}")
    return command


async def _wave(
    account: Account, server: ServerProcess, destination: Destination, *, may_end: bool = False
) -> list[Answer]:
    """Send so many messages at once; every one of them gets an answer, unless the server `may_end`
    meanwhile: then who comes too late finds its connection broken."""

    async def send(target: str) -> Answer | None:
        try:
            answer = await ask(server.listen, destination.origin, target, account.body(target))
        except TimeoutError:
            raise
        except (OSError, asyncio.IncompleteReadError):
            if not may_end:
                raise
            return None
        account.note(target, answer)
        return answer

    targets = [account.begin(500) for _ in range(_CALLERS)]
    answers = await asyncio.gather(*map(send, targets))
    return [answer for answer in answers if answer is not None]


async def _wave_after_wave(
    account: Account, server: ServerProcess, destination: Destination, *, may_end: bool = False
) -> list[Answer]:
    """Send until something is refused; return those refusals."""
    for _ in range(_WAVES):
        answers = await _wave(account, server, destination, may_end=may_end)
        refused = [answer for answer in answers if answer.status != 202]
        if refused:
            return refused
    raise AssertionError("the fault was not met")


@pytest.mark.parametrize(
    "fault", ["fdatasync:error=EIO:when=20", "pwrite64:error=EIO:when=20"], ids=["sync", "write"]
)
async def test_the_process_ends_when_the_log_cannot_be_written(
    tmp_path: Path, injecting: Injecting, fault: str
) -> None:
    """Callers of that batch get 503, the process ends with 1 and says why in one line; a restart
    recovers, and delivers everything that was answered 202."""
    account = Account()
    destination = Destination(account)
    # While nothing is delivered, each batch is one of callers, who wait for their answer.
    async with silent() as destination.port:
        settings = {**_QUICK, "DEFAULT_TIMEOUT": "60000"}
        with ServerProcess(tmp_path, injecting(fault), **settings) as server:
            refused = await _wave_after_wave(account, server, destination, may_end=True)
            code = await asyncio.to_thread(server.wait)
    async with destination:
        assert {answer.slug for answer in refused} == {"log_failed"}
        assert {answer.status for answer in refused} == {503}
        assert all(b"\r\nretry-after: " in answer.headers.lower() for answer in refused)
        assert code == 1
        assert len(server.events("log.failed")) == 1
        assert server.events("server.stopped")[0]["exit_code"] == 1
        assert not server.events("server.crashed")
        assert "Traceback" not in server.stderr
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    account.check(deliveries, refused_may_come=True)
    assert account.accepted


async def test_the_process_ends_when_the_dead_letter_log_cannot_be_written(
    tmp_path: Path, injecting: Injecting
) -> None:
    """A dead letter that could not be made durable is not settled: the next start gives the message
    up once more, or delivers it. The line says which log it was."""
    account = Account()
    status = 404
    dead_log = tmp_path / "deadletter.log"
    async with Destination(account, fails=lambda target, attempt: status) as destination:
        fault = injecting("fdatasync:error=EIO:when=4", path=dead_log / "00000001.seg")
        with ServerProcess(tmp_path, fault, **_QUICK) as server:
            for _ in range(1000):  # many of them may share a sync
                target = account.begin(10)
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    body = account.body(target)
                    answer = await ask(server.listen, destination.origin, target, body)
                    account.note(target, answer)
                    await asyncio.sleep(0.05)
                if server.events("log.failed"):
                    break
            assert await asyncio.to_thread(server.wait) == 1
        (failed,) = server.events("log.failed")
        assert Path(failed["path"]).name == "deadletter.log"
        status = 200
        dead = {line["id"] for line in server.events("message.dead_lettered")}
        account.accepted = {t: id_ for t, id_ in account.accepted.items() if id_ not in dead}
        with ServerProcess(tmp_path, **_QUICK) as server:
            await until(lambda: counts(server)[0] == 0)
            _, count = await asyncio.to_thread(counts, server)
    assert dead
    assert len(dead) <= count
    again = {each.id for each in come([destination]) if each.status == 200}
    assert not dead & again, "a dead letter was delivered"
    assert len(account.missing(come([destination]))) == count - len(dead), "each is in one place"


async def test_accepting_pauses_and_resumes_by_itself_when_writes_find_no_space(
    tmp_path: Path, injecting: Injecting
) -> None:
    """No space is not a failure: 503 with Retry-After, `/readyz` says so, deliveries go on, and
    nothing that was refused is ever delivered."""
    account = Account()
    held = 503
    async with (
        Destination(account) as destination,
        Destination(account, fails=lambda target, attempt: held) as late,
    ):
        fault = "pwrite64:error=ENOSPC:when=20..23"
        with ServerProcess(tmp_path, injecting(fault), **_QUICK) as server:
            target = account.begin(2000)
            answer = await ask(server.listen, late.origin, target, account.body(target))
            account.note(target, answer)
            refused = await _wave_after_wave(account, server, destination)
            assert {(answer.status, answer.slug) for answer in refused} == {(503, "disk_full")}
            assert all(b"\r\nretry-after: " in answer.headers.lower() for answer in refused)
            status, text = await asyncio.to_thread(readiness, server)
            assert status == 503
            assert "disk_full" in text
            held = 200
            await until(lambda: any(each.status == 200 for each in late.deliveries))
            assert not server.events("log.space_again"), "it was delivered while the disk was full"
            await asyncio.to_thread(server.event, "log.space_again")
            assert {answer.status for answer in await _wave(account, server, destination)} == {202}
            assert (await asyncio.to_thread(readiness, server))[0] == 200
            deliveries = await delivered(account, [destination, late])
            assert await asyncio.to_thread(server.stop) == 0
        with ServerProcess(tmp_path, **_QUICK) as server:
            assert server.event("server.ready")["pending"] == 0
            await asyncio.sleep(0.2)
        account.check(come([destination, late]))
    assert len(deliveries) == len(come([destination, late])), "settled is settled"
    assert len(server.events("log.disk_full")) <= 1


class _Told:
    """What systemd is told: everything is read, so that nothing is left out."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.name)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while told := self._socket.recv(4096):
            self._told.append(told.decode())

    def between(self, first: str, second: str) -> list[str]:
        """What came after one text and before the next other, once that has come."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            told = list(self._told)
            starts = [at for at, one in enumerate(told) if first in one]
            ends = [
                at for at, one in enumerate(told) if starts and at > starts[0] and second in one
            ]
            if ends:
                return told[starts[0] : ends[0]]
            time.sleep(0.05)
        raise TimeoutError(f"told: {self._told}")

    def __enter__(self) -> _Told:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self.name)
        self._reader.join(60)
        self._socket.close()


async def _stalled(account: Account, server: ServerProcess, destination: Destination) -> Waiting:
    """Send one message after the other until one gets no answer, because the disk stands still."""
    for _ in range(_WAVES):
        target = account.begin(500)
        waiting = asyncio.ensure_future(
            ask(server.listen, destination.origin, target, account.body(target))
        )
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.1)
            if server.events("log.sync_slow"):
                await asyncio.wait([waiting], timeout=4.0)  # of itself a disk is slow for less
                if not waiting.done():
                    return target, waiting
        account.note(target, await waiting)
    raise AssertionError("the fault was not met")


async def test_disk_that_stands_still_is_told_and_waited_for(
    tmp_path: Path, injecting: Injecting
) -> None:
    """A warning after a second; after five `/readyz` and new callers hear `disk_stalled`, and
    systemd gets no sign of life. When the sync returns, who waited gets its 202, and everything
    goes on by itself."""
    account = Account()
    told = _Told(tmp_path / "notify")
    watched = {"NOTIFY_SOCKET": told.name, "WATCHDOG_USEC": "500000"}
    async with Destination(account) as destination:
        fault = injecting("fdatasync:delay_enter=15000000:when=20")
        with told, ServerProcess(tmp_path, fault, **_QUICK, **watched) as server:
            target, waiting = await _stalled(account, server, destination)
            await asyncio.to_thread(server.event, "log.sync_slow")
            await asyncio.to_thread(server.event, "log.disk_stalled")
            status, text = await asyncio.to_thread(readiness, server)
            assert (status, "disk_stalled" in text) == (503, True)
            late = account.begin(10)
            answer = await ask(server.listen, destination.origin, late, account.body(late))
            assert (answer.status, answer.slug) == (503, "disk_stalled")
            assert b"\r\nretry-after: " in answer.headers.lower()
            account.note(late, answer)
            assert not waiting.done()
            account.note(target, await waiting)
            assert target in account.accepted
            await asyncio.to_thread(server.event, "log.disk_moves")
            assert (await asyncio.to_thread(readiness, server))[0] == 200
            stalled = await asyncio.to_thread(told.between, "(disk_stalled)", "Accepting messages")
            assert "WATCHDOG=1" not in stalled
            await _wave(account, server, destination)
            await delivered(account, [destination])
            assert await asyncio.to_thread(server.stop) == 0
            assert not server.events("server.log_abandoned")
        account.check(come([destination]))


async def test_stop_is_obeyed_while_the_disk_stands_still(
    tmp_path: Path, injecting: Injecting
) -> None:
    """Within `DRAIN_TIMEOUT` and five seconds, although the thread hangs in its sync. Who waits is
    told that nobody knows, and nothing that was answered 202 is lost."""
    account = Account()
    async with Destination(account) as destination:
        fault = injecting("fdatasync:delay_enter=50000000:when=20")
        settings = {**_QUICK, "DRAIN_TIMEOUT": "500"}
        with ServerProcess(tmp_path, fault, **settings) as server:
            target, waiting = await _stalled(account, server, destination)
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            stopped = await asyncio.to_thread(server.event, "server.stopped")
            took_s = time.monotonic() - began
            assert stopped["exit_code"] == 0
            answer = await waiting
            assert (answer.status, answer.slug) == (503, "log_failed")
            account.note(target, answer)
            assert server.events("server.log_abandoned")
            assert not server.events("server.crashed")
            server.kill()  # strace keeps the thread that it delays, and with it the process
        assert took_s < 30  # the sync takes 50 s
        with ServerProcess(tmp_path, **_QUICK) as server:
            await delivered(account, [destination])
    account.check(come([destination]), refused_may_come=True, every=False)
    assert account.accepted


def _make_signing_key(directory: Path) -> None:
    """So that the first syncs of a start are those of the logs."""
    SigningKeyFile(directory / "signing.pem").load()


@pytest.mark.parametrize(
    "fault",
    ["fsync:error=EIO:when=1", "fsync:error=EIO:when=2", "fdatasync:error=EIO:when=1"],
    ids=["directory", "segment-name", "segment"],
)
async def test_the_start_fails_in_one_line_when_the_log_cannot_be_made(
    tmp_path: Path, injecting: Injecting, fault: str
) -> None:
    """Nothing is listened on before the log is durable; the next start begins afresh."""
    _make_signing_key(tmp_path)
    server = ServerProcess(tmp_path, injecting(fault))
    try:
        assert await asyncio.to_thread(server.wait) == 1
    finally:
        server.kill()
    assert not server.events("server.ready")
    assert "Traceback" not in server.stderr
    assert server.stderr.startswith("dispatcher: error: ")
    assert server.stderr.count("\n") == 1
    with ServerProcess(tmp_path) as server:
        assert server.event("server.ready")["pending"] == 0


@pytest.mark.parametrize("call", ["fsync", "rename"], ids=["directory-sync", "rename"])
async def test_the_process_ends_when_a_segment_cannot_be_made(
    tmp_path: Path, injecting: Injecting, call: str
) -> None:
    """A failure of the thread that makes segments is one of the log: no 202 after it that a crash
    could take back."""
    account = Account()
    _make_signing_key(tmp_path)
    when = {"fsync": 5, "rename": 3}[call]
    async with Destination(account) as destination:
        prefix = injecting(f"{call}:error=EIO:when={when}")
        with ServerProcess(tmp_path, prefix, **_QUICK) as server:
            async with Load(account, server.listen, [destination], callers=16, large_one_in=5):
                code = await asyncio.to_thread(server.wait)
        assert code == 1
        assert len(server.events("log.failed")) == 1
        assert "Traceback" not in server.stderr
        with ServerProcess(tmp_path, **_QUICK) as server:
            deliveries = await delivered(account, [destination])
    account.check(deliveries, refused_may_come=True)


async def test_everything_is_delivered_when_syncs_are_slow(
    tmp_path: Path, injecting: Injecting
) -> None:
    """A disk that takes 5 ms a sync makes callers wait, and nothing else."""
    account = Account()
    async with Destination(account) as destination:
        prefix = injecting("fdatasync:delay_enter=5000")
        with ServerProcess(tmp_path, prefix, **_QUICK) as server:
            load = Load(account, server.listen, [destination], callers=32, most=1500)
            async with load:
                await asyncio.sleep(1.0)
                await until(lambda: len(account.accepted) > 300)
            deliveries = await delivered(account, [destination])
            assert await asyncio.to_thread(server.stop) == 0
    account.check(deliveries)
    assert len(account.accepted) > 300

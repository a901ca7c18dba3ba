"""Sections 2 and 3: what was answered 202 survives whatever happens to the process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dispatcher.testing.destination import Wait, answer
from tests.acceptance.receiver import Gate, Receiver, Receivers, eventually
from tests.acceptance.running import accept, metrics, pending_at_start, quick, run, settled
from tests.acceptance.served import NODES, ServerProcess
from tests.acceptance.wire import Caller, ask, get, post, request

LATER = quick(RETRY_DELAY="400", RETRY_MAX_DELAY="400", WORKER="1")


def ids(receiver: Receiver, count: int) -> list[str]:
    """The ids of so many requests, as they came."""
    return [one.headers["x-dispatcher-message-id"] for one in receiver.received(count)]


def segments(directory: Path, name: str = "transaction.log") -> list[Path]:
    """The files of a log that hold records."""
    return sorted((directory / name).glob("*.seg"))


@contextmanager
def silent(*receivers: Receiver) -> Iterator[None]:
    """Destinations that answer nothing, so that what is sent to them stays; then all is as ever."""
    for receiver in receivers:
        receiver.fake.default = [Wait(60)]
    yield
    for receiver in receivers:
        receiver.fake.default = answer()
        receiver.requests.clear()


def leave_behind(directory: Path, receiver: Receiver, bodies: list[bytes]) -> list[str]:
    """Accept messages that cannot be delivered, and crash. Returns their ids."""
    with silent(receiver), ServerProcess(directory, **LATER) as server:
        numbers = [accept(server, receiver, body=body).id for body in bodies]
        receiver.received(1)
        server.kill()
    return numbers


# Replay


def test_undelivered_messages_are_delivered_after_a_crash_oldest_first(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Bodies that are larger than what the log takes at once too, byte for byte."""
    bodies = [b"small", b"", bytes(range(256)) * 4000, b"last"]
    numbers = leave_behind(tmp_path, receiver, bodies)
    with ServerProcess(tmp_path, **LATER) as server:
        assert pending_at_start(server) == 4
        assert ids(receiver, 4) == numbers
        assert [bytes(one.body) for one in receiver.requests] == bodies
        eventually(lambda: metrics(server)['dispatcher_messages{state="in_flight"}'] == 0)
        assert metrics(server)["dispatcher_messages_accepted_total"] == 0
        assert server.stop() == 0
    with ServerProcess(tmp_path, **LATER) as server:
        assert pending_at_start(server) == 0
        time.sleep(0.1)
    assert len(receiver.requests) == 4


def test_order_is_kept_for_each_destination(tmp_path: Path, receivers: Receivers) -> None:
    """Many messages, for two destinations in turn."""
    with receivers.open() as one, receivers.open() as other:
        with (
            silent(one, other),
            ServerProcess(tmp_path, **LATER) as server,
            Caller(server.listen) as caller,
        ):
            caller.send((post(one.authority) + post(other.authority)) * 200)
            numbers = [caller.answer().id for _ in range(400)]
            server.kill()
        with ServerProcess(tmp_path, **LATER):
            assert ids(one, 200) == numbers[::2]
            assert ids(other, 200) == numbers[1::2]


def test_attempts_are_counted_on_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    """Those before a crash count; the id stays."""
    settings = quick(RETRY_DELAY="400", RETRY_MAX_DELAY="400", RETRYLIMIT="4")
    receiver.script(*[answer(500)] * 20)
    with ServerProcess(tmp_path, **settings) as server:
        number = accept(server, receiver).id
        eventually(lambda: len(server.events("attempt.finished")) >= 2)
        server.kill()
    with ServerProcess(tmp_path, **settings) as server:
        event = server.event("message.dead_lettered")
        assert (event["id"], event["attempts"]) == (number, 5)
    found = [int(one.headers["x-dispatcher-attempt"]) for one in receiver.requests]
    # The attempt whose end was not yet written down is made again with its number.
    assert len(found) <= 6
    assert sorted({*found}) == [1, 2, 3, 4, 5]
    assert found == sorted(found)
    assert set(ids(receiver, len(found))) == {number}


def test_dead_letters_are_kept(tmp_path: Path, receiver: Receiver) -> None:
    """They are not delivered again, and are still there after a crash."""
    receiver.script(answer(400))
    with ServerProcess(tmp_path, **quick()) as server:
        accept(server, receiver)
        server.event("message.dead_lettered")
        eventually(lambda: metrics(server)['dispatcher_messages{state="dead"}'] == 1)
        server.kill()
    with ServerProcess(tmp_path, **quick()) as server:
        assert metrics(server)['dispatcher_messages{state="dead"}'] == 1
        assert metrics(server)["dispatcher_messages_dead_total"] == 0
        time.sleep(0.1)
    assert len(receiver.requests) == 1


def test_no_id_comes_twice_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    """Nor after one with an empty log."""
    seen = set()
    for turn in range(3):
        with ServerProcess(tmp_path, **quick()) as server:
            seen |= {accept(server, receiver).id for _ in range(5)}
        if turn:
            shutil.rmtree(tmp_path / "transaction.log")
    assert len(seen) == 15


# SIGTERM and SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_what_is_in_flight_finish(
    tmp_path: Path, receiver: Receiver, number: signal.Signals
) -> None:
    """Nothing more is accepted, what finishes is settled and not sent again, and it exits 0."""
    settings = quick(DRAIN_TIMEOUT="30000", DEFAULT_TIMEOUT="60000")
    gate = receiver.fake.default = Gate()
    with ServerProcess(tmp_path, **settings) as server:
        address, api = server.listen, server.api
        caller = Caller(address)
        accept(server, receiver)
        eventually(lambda: gate.held == 1)
        caller.send(post(receiver.authority, "Expect: 100-continue", body=b"12345")[:-5])
        assert caller.answer().status == 100
        caller.send(b"1234")
        server.signal(number)
        server.event("server.stopping")
        eventually(lambda: not _connects(address))
        ready = get(api, "/readyz")
        assert (ready.status, ready.slug) == (503, "shutting_down")
        assert get(api, "/healthz").status == 200
        caller.send(b"5")
        refused = caller.answer()
        # A node of a cluster has given its partitions away, and nobody takes them.
        assert (refused.status, refused.slug) == (503, "moved" if NODES else "shutting_down")
        assert int(refused.headers["retry-after"]) >= 1
        assert caller.at_end()
        caller.reset()
        gate.let_through(answer())
        assert server.wait() == 0
        assert server.event("server.stopped")["exit_code"] == 0
    with ServerProcess(tmp_path, **settings) as server:
        assert pending_at_start(server) == 0
        time.sleep(0.1)
    assert len(receiver.requests) == 1


def test_what_is_unfinished_is_delivered_after_the_next_start(
    tmp_path: Path, receiver: Receiver
) -> None:
    """After `DRAIN_TIMEOUT`; it exits 0 all the same."""
    receiver.script([Wait(600)])
    settings = quick(DRAIN_TIMEOUT="200", DEFAULT_TIMEOUT="600000")
    with ServerProcess(tmp_path, **settings) as server:
        number = accept(server, receiver).id
        receiver.received(1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began > 0.19
    with ServerProcess(tmp_path, **quick()):
        assert ids(receiver, 2) == [number] * 2


def test_messages_that_wait_are_not_waited_for(tmp_path: Path, receiver: Receiver) -> None:
    """Only what is in flight is; retries that are due later are made after the next start."""
    receiver.script(answer(500))
    settings = quick(RETRY_DELAY="1500", RETRY_MAX_DELAY="1500", DRAIN_TIMEOUT="5000")
    with ServerProcess(tmp_path, **settings) as server:
        number = accept(server, receiver).id
        server.event("attempt.finished")
        assert server.stop() == 0
    assert len(receiver.requests) == 1
    with ServerProcess(tmp_path, **settings):
        assert ids(receiver, 2) == [number] * 2
        assert receiver.requests[1].headers["x-dispatcher-attempt"] == "2"


def test_second_signal_exits_at_once_with_nothing_lost(tmp_path: Path, receiver: Receiver) -> None:
    """However long `DRAIN_TIMEOUT` is."""
    receiver.script([Wait(600)])
    settings = quick(DRAIN_TIMEOUT="600000", DEFAULT_TIMEOUT="600000")
    with ServerProcess(tmp_path, **settings) as server:
        number = accept(server, receiver).id
        receiver.received(1)
        server.signal(signal.SIGTERM)
        server.event("server.stopping")
        server.signal(signal.SIGTERM)
        server.wait()
    with ServerProcess(tmp_path, **quick()):
        assert ids(receiver, 2) == [number] * 2


def _connects(address: tuple[str, int]) -> bool:
    try:
        with Caller(address):
            return True
    except ConnectionError:
        return False


# Damage


def last_byte(segment: Path) -> int:
    """Offset of the last byte that is not zero."""
    return len(segment.read_bytes().rstrip(b"\0")) - 1


def test_torn_tail_is_cut_off_and_reported(tmp_path: Path, receiver: Receiver) -> None:
    """`log verify` names it and exits 0; everything before it is delivered."""
    numbers = leave_behind(tmp_path, receiver, [b"a" * 500] * 5)
    # What a power cut leaves: a record at the end, of which a part never reached the disk.
    torn = [path for path in segments(tmp_path) if last_byte(path) > 4096][-1]
    end = last_byte(torn)
    with open(torn, "r+b") as file:
        file.seek(end - 100)
        file.write(bytes(101))
    result = run(tmp_path, "log", "verify")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "torn" in result.stdout.lower()
    with ServerProcess(tmp_path, **LATER) as server:
        line = server.event("log.torn_tail_cut")
        assert line["level"] == "warning"
        assert set(ids(receiver, 4)) >= set(numbers[:4])
        assert server.stop() == 0
    result = run(tmp_path, "log", "verify")
    assert result.returncode == 0
    assert "torn" not in result.stdout.lower().replace("no torn", "")


def test_damage_elsewhere_stops_the_start_with_file_and_offset(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Exit code 5, and nothing is changed; `log verify` says the same, `log repair` what would be
    lost, before anything is changed."""
    leave_behind(tmp_path, receiver, [b"first-" * 100, b"second-" * 100, b"third-" * 100])
    (segment,) = (path for path in segments(tmp_path) if b"second-" in path.read_bytes())
    data = bytearray(segment.read_bytes())
    at = data.index(b"second-") + 70
    data[at] ^= 1
    segment.write_bytes(data)
    server = ServerProcess(tmp_path, **LATER)
    assert server.wait() == 5
    verify = run(tmp_path, "log", "verify", "--path", "transaction.log")
    assert verify.returncode == 5
    repair = run(tmp_path, "log", "repair", "--path", "transaction.log")
    for text in (server.stderr, verify.stdout + verify.stderr, repair.stdout + repair.stderr):
        assert segment.name in text
        assert "Traceback" not in text
    assert server.stderr.count("\n") == 1
    assert segment.read_bytes() == data
    offsets = [int(word) for word in _numbers(server.stderr)]
    assert any(at - 2000 < offset <= at for offset in offsets), (server.stderr, at)
    applied = run(tmp_path, "log", "repair", "--path", "transaction.log", "--apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    with ServerProcess(tmp_path, **LATER):
        bodies = {bytes(one.body)[:5] for one in receiver.received(2)}
    assert bodies == {b"first", b"third"}


def _numbers(text: str) -> list[str]:
    return "".join(letter if letter.isdigit() else " " for letter in text).split()


def test_verify_of_an_intact_log_exits_0(tmp_path: Path, receiver: Receiver) -> None:
    """Beside a running server too."""
    with ServerProcess(tmp_path, **quick()) as server:
        accept(server, receiver)
        settled(server, 1)
        assert run(tmp_path, "log", "verify").returncode == 0
        assert server.stop() == 0
    assert run(tmp_path, "log", "verify").returncode == 0


# Space


def _bytes_on_disk(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in segments(directory))


@pytest.mark.parametrize("keep", ["false", "true"])
def test_segments_are_deleted_when_nothing_in_them_is_needed(
    tmp_path: Path, receivers: Receivers, keep: str
) -> None:
    """Unless `EVENT_SOURCING` keeps the whole log."""
    body = b"s" * 1_000_000
    settings = quick(EVENT_SOURCING=keep)
    with (
        receivers.open(keep_bodies=False) as receiver,
        ServerProcess(tmp_path, **settings) as server,
    ):
        first = segments(tmp_path)[0].name
        for _ in range(30):
            accept(server, receiver, body=body)
        settled(server, 30)
        if keep == "true":
            time.sleep(0.3)
            assert segments(tmp_path)[0].name == first
            assert _bytes_on_disk(tmp_path) > 30_000_000
        else:
            eventually(lambda: segments(tmp_path)[0].name != first)
        assert server.stop() == 0


def test_full_disk_is_survived(tmp_path: Path, receiver: Receiver) -> None:
    """Callers get 503 with `Retry-After`, `/readyz` says `disk_full`, delivery goes on, and then
    messages are accepted again, without a restart."""
    small = 'mount -t tmpfs -o size=6m tmpfs log && exec "$@"'
    prefix = ("unshare", "-rm", "sh", "-c", small, "sh")
    (tmp_path / "log").mkdir()
    if subprocess.run([*prefix, "true"], cwd=tmp_path, check=False, capture_output=True).returncode:
        pytest.skip("file systems may not be mounted here")
    receiver.run(receiver.fake.stop())
    settings = quick(TRANSACTION_LOG="log/t", RETRYLIMIT="1000", RETRY_DELAY="200")
    with ServerProcess(tmp_path, prefix, **settings) as server:
        numbers = []
        refused = None
        for _ in range(400):
            answered = ask(server.listen, post(receiver.authority, body=b"d" * 50_000))
            if answered.status != 202:
                refused = answered
                break
            numbers.append(answered.id)
        assert refused is not None
        assert (refused.status, refused.slug) == (503, "disk_full")
        assert int(refused.headers["retry-after"]) >= 1
        ready = get(server.api, "/readyz")
        assert (ready.status, ready.slug) == (503, "disk_full")
        refused = get(server.listen, "/readyz")
        assert (refused.status, refused.json) == (503, {"status": "not ready"})
        assert server.event("log.disk_full")["level"] == "error"
        assert len(numbers) > 10
        receiver.run(receiver.fake.start())
        assert set(ids(receiver, len(numbers))) >= set(numbers)
        eventually(lambda: get(server.api, "/readyz").status == 200)
        accept(server, receiver, body=b"again")
        assert server.stop() == 0


def test_202_comes_after_the_sync(tmp_path: Path, receiver: Receiver) -> None:
    """Seen from outside: between a request and its answer a sync has ended."""
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,read,recvfrom,write,sendto,writev,sendmsg"
    prefix = ("strace", "-f", "-qq", "-s", "64", "-e", calls, "-o", str(trace))
    if (
        shutil.which("strace") is None
        or subprocess.run(
            ["strace", "-o", "/dev/null", "true"], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("strace may not attach here")
    with ServerProcess(tmp_path, prefix, **quick()) as server:
        for _ in range(5):
            accept(server, receiver, body=b"x")
            time.sleep(0.03)
        assert server.stop() == 0
    answered, is_synced = 0, False
    for line in trace.read_text().splitlines():
        if "POST / HTTP/1.1" in line and ("read" in line or "recv" in line):
            is_synced = False
        elif "fdatasync" in line and line.endswith("= 0"):
            is_synced = True
        elif "HTTP/1.1 202 " in line:
            assert is_synced
            answered += 1
    assert answered == 5


def test_nothing_is_stored_of_what_is_refused(tmp_path: Path, receiver: Receiver) -> None:
    """The log does not grow by it, and a restart finds nothing to deliver."""
    with ServerProcess(tmp_path, **quick()) as server:
        before = metrics(server)["dispatcher_log_records_total"]
        for _ in range(5):
            ask(server.listen, post("", body=b"x" * 1000))
            ask(server.listen, request("GET / HTTP/1.1", "Host: h"))
        assert metrics(server)["dispatcher_log_records_total"] == before
        server.kill()
    with ServerProcess(tmp_path, **quick()) as server:
        assert pending_at_start(server) == 0

"""A parent and its children as processes, with stand-ins for the children: `stand_in`."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dispatcher.testing.many import ManyProcesses
from dispatcher.testing.ports import KeptPort
from dispatcher.testing.process import ServerProcess

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
HASTY = {"abort_s": 0.2, "stop_s": 60.0, "longest_pause_s": 0.3}
"""Timings of tests that wait for what takes seconds otherwise."""
WATCHFUL = HASTY | {"silence_s": 3.0}
"""Those of tests in which children hang."""


def started(
    directory: Path,
    behaviour: Mapping[int, Sequence[str]] | None = None,
    *,
    timings: Mapping[str, float] = HASTY,
    processes: int = 2,
    settings: Mapping[str, str] | None = None,
) -> ManyProcesses:
    """A parent of stand-ins which do what `behaviour` says."""
    told = {str(number): words for number, words in (behaviour or {}).items()}
    return ManyProcesses(
        directory,
        processes,
        child=STAND_IN,
        timings=timings,
        BEHAVIOUR=json.dumps(told),
        **(settings or {}),
    )


def until(found: Callable[[], bool]) -> None:
    """Wait until it is so.

    Raises:
        TimeoutError: it does not come to that.
    """
    deadline = time.monotonic() + 60
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def call(address: tuple[str, int]) -> int:
    """Connect; return the number of the process that takes the connection."""
    with socket.create_connection(address, timeout=60) as caller:
        return int(caller.recv(100))


def is_gone(pid: int) -> bool:
    """Whether there is no such process any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def resident_kb(pid: int) -> int:
    """How much memory a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


# Start and stop


def test_server_is_ready_when_all_children_are_and_ends_when_they_have(tmp_path: Path) -> None:
    """One line says that it is ready, with where it listens and what waits in all of them."""
    with started(tmp_path, processes=3) as server:
        ready = server.event("server.ready")
        assert len(server.events("process.ready")) == 3
        assert ready["pending"] == 1 + 2 + 3
        assert ready["api_listen"].startswith("127.0.0.1:")
        assert call(server.listen) in [server.pid_of(number) for number in range(3)]
        pids = [server.pid_of(number) for number in range(3)]
        assert server.stop() == 0
        assert all(is_gone(pid) for pid in pids)
        assert server.lines[-1]["event"] == "server.stopped"
        assert server.lines[-1]["exit_code"] == 0
        assert server.lines[-1]["pending"] == 1 + 2 + 3
        assert {line["process"] for line in server.events("process.stopped")} == {0, 1, 2}
        assert server.stderr == ""


def test_start_is_told_once_and_lines_of_a_child_have_its_number(tmp_path: Path) -> None:
    """Settings are those of the node; what a child logs says which one it is."""
    with started(tmp_path, settings={"WORKER": "5"}) as server:
        (starting,) = server.events("server.starting")
        assert starting["changed"]["WORKER"] == 5
        assert starting["pid"] == server.pid
        assert sorted(line["process"] for line in server.events("process.ready")) == [0, 1]


def test_port_that_is_taken_ends_the_start_with_3(tmp_path: Path) -> None:
    """A second server does not share the port with the first one without a word."""
    with KeptPort() as kept, socket.create_server(("127.0.0.1", kept.number)):
        server = started(tmp_path, settings={"LISTEN": f"127.0.0.1:{kept.number}"})
        assert server.wait() == 3
    assert server.stderr.startswith("dispatcher: error: Cannot listen on 127.0.0.1:")
    assert server.stderr.count("\n") == 1
    assert not server.events("process.started")


def test_log_in_use_is_what_is_told_where_the_port_is_taken_too(tmp_path: Path) -> None:
    """By a server with the same settings: then that is the mistake."""
    with KeptPort() as kept:
        settings = {"API_LISTEN": f"127.0.0.1:{kept.number}"}
        with ServerProcess(tmp_path, **settings):
            server = started(tmp_path, settings=settings)
            assert server.wait() == 4
    assert "the log is in use by process" in server.stderr


def test_fewer_workers_than_processes_are_refused(tmp_path: Path) -> None:
    """Each of them delivers."""
    server = started(tmp_path, processes=3, settings={"WORKER": "2"})
    assert server.wait() == 2
    assert "WORKER=2: expected at least PROCESSES=3" in server.stderr


def test_child_that_is_refused_before_all_were_ready_ends_all(tmp_path: Path) -> None:
    """With its exit code and the one line it has to say, as a server of one process."""
    server = started(tmp_path, {1: ["refuse"], 2: ["unready"]}, processes=3)
    try:
        assert server.wait() == 4
        assert server.stderr == "dispatcher: error: transaction.log: the log is in use\n"
        assert not server.events("server.ready")
    finally:
        server.kill()


def test_child_that_crashes_before_all_were_ready_is_started_again(tmp_path: Path) -> None:
    """It has named no reason for which the next start would be no better."""
    with started(tmp_path, {0: ["crash", "crash", "ready"]}) as server:
        ended = server.of("process.ended", 0)
        assert [line["exit_code"] for line in ended] == [7, 7]
        assert [line["restart_in_ms"] for line in ended] == [100, 200]


def test_child_that_is_refused_later_is_tried_again_and_the_others_go_on(tmp_path: Path) -> None:
    """The reason is in the log each time."""
    with started(tmp_path, {1: ["die", "ready", "refuse", "refuse", "ready"]}) as server:
        until(lambda: len(server.of("process.ready", 1)) == 2)
        os.kill(server.pid_of(1), signal.SIGKILL)
        until(lambda: len(server.of("process.ready", 1)) == 3)
        refused = [line for line in server.of("process.ended", 1) if line["exit_code"] == 4]
        assert {line["reason"] for line in refused} == {"transaction.log: the log is in use"}
        assert server.of("process.ended", 0) == []
        assert server.stop() == 0
        assert server.stderr == ""


# Death and hanging


def test_child_that_is_killed_is_started_again_and_the_socket_stays(tmp_path: Path) -> None:
    """The other one takes the callers meanwhile, and the new one inherits the sockets."""
    with started(tmp_path) as server:
        first = server.pid_of(1)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(server.of("process.ready", 1)) == 2)
        assert server.of("process.ended", 1)[0]["exit_code"] == -signal.SIGKILL
        assert server.pid_of(1) != first
        os.kill(server.pid_of(0), signal.SIGSTOP)
        try:
            assert call(server.listen) == server.pid_of(1)
        finally:
            os.kill(server.pid_of(0), signal.SIGCONT)


def test_child_that_is_stopped_is_killed_and_started_again(tmp_path: Path) -> None:
    """SIGABRT does not reach it, SIGKILL does."""
    with started(tmp_path, timings=WATCHFUL) as server:
        os.kill(server.pid_of(0), signal.SIGSTOP)
        until(lambda: len(server.of("process.ready", 0)) == 2)
        hung = [line["signal"] for line in server.of("process.hung", 0)]
        assert hung == ["SIGABRT", "SIGKILL"]


def test_child_that_hangs_says_where_and_is_started_again(tmp_path: Path) -> None:
    """The traceback is what a person needs to mend it."""
    timings = WATCHFUL | {"abort_s": 60.0}
    with started(tmp_path, {1: ["hang", "ready"]}, timings=timings) as server:
        until(lambda: len(server.of("process.ready", 1)) == 2)
        assert [line["signal"] for line in server.of("process.hung", 1)] == ["SIGABRT"]
        assert server.of("process.ended", 1)[0]["exit_code"] == -signal.SIGABRT
        until(lambda: "stand_in.py" in server.stderr)


def test_nothing_is_held_against_children_while_all_were_stopped(tmp_path: Path) -> None:
    """A machine that sleeps, a container that is paused, a terminal's ^Z."""
    with started(tmp_path, timings=WATCHFUL) as server:
        pids = [server.pid, server.pid_of(0), server.pid_of(1)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)  # longer than the silence that is allowed: it is time that this is about
        os.kill(server.pid, signal.SIGCONT)
        for pid in pids[1:]:
            os.kill(pid, signal.SIGCONT)
        server.signal(signal.SIGHUP)
        assert server.stop() == 0
        assert server.events("process.hung") == []


def test_children_end_when_their_parent_was_killed(tmp_path: Path) -> None:
    """Nobody would start them again, and the next server needs their logs."""
    with started(tmp_path) as server:
        pids = [server.pid_of(0), server.pid_of(1)]
        os.kill(server.pid, signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        until(lambda: all(is_gone(pid) for pid in pids))
        assert [line["signal"] for line in server.events("process.stopping")] == ["none", "none"]


# Signals


def test_second_signal_ends_children_that_do_not_stop(tmp_path: Path) -> None:
    """At once, with exit code 1, as a server of one process."""
    with started(tmp_path, {0: ["deaf"]}) as server:
        server.signal(signal.SIGTERM)
        server.event("process.stopped")
        server.signal(signal.SIGINT)
        assert server.wait() == 1
        assert server.events("server.abandoned")


def test_child_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    """A stop has an end."""
    with started(tmp_path, {0: ["deaf"]}, timings=HASTY | {"stop_s": 0.3}) as server:
        assert server.stop() == 1


def test_signal_for_all_of_them_stops_them_once(tmp_path: Path) -> None:
    """A terminal's ^C and systemd reach the children too, beside the parent."""
    with started(tmp_path) as server:
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0
        assert server.events("server.abandoned") == []


def test_reload_and_stacks_are_passed_on(tmp_path: Path) -> None:
    """SIGHUP and SIGUSR1 are for whatever there is of the server."""
    with started(tmp_path) as server:
        server.signal(signal.SIGUSR1)
        until(lambda: server.stderr.count("a child is here\n") == 2)
        assert "parent.py" in server.stderr


def test_signal_before_the_children_have_handlers_stops_the_start(tmp_path: Path) -> None:
    """It waits for them, and they do not die of it without a word."""
    server = started(tmp_path)
    try:
        server.event("process.started")
        assert server.stop() == 0
        assert server.lines[-1]["event"] == "server.stopped"
    finally:
        server.kill()


def test_signal_that_came_before_the_parent_began_starts_nothing(tmp_path: Path) -> None:
    """It was held all the while."""
    server = started(tmp_path)
    try:
        server.event("server.starting")
        assert server.stop() == 0
        assert server.lines[-1]["event"] == "server.stopped"
        assert not server.events("process.ready")
    finally:
        server.kill()


# systemd


class Manager:
    """The socket of systemd, which hears what is told as it comes."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._told: list[str] = []
        self._seen = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while told := self._socket.recv(1000):
            self._told.append(told.decode())

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.shutdown(socket.SHUT_RD)
        self._reader.join(60)
        self._socket.close()

    def until(self, wanted: str) -> list[str]:
        """Everything that is told until that comes."""

        def end() -> int | None:
            later = range(self._seen, len(self._told))
            return next((one for one in later if self._told[one].startswith(wanted)), None)

        until(lambda: end() is not None)
        begin, self._seen = self._seen, (end() or 0) + 1
        return self._told[begin : self._seen]


def test_systemd_is_told_by_the_parent_alone(tmp_path: Path) -> None:
    """Ready with the last child, alive while it looks after them, reloaded when all have, and that
    it stops."""
    manager = Manager(tmp_path)
    environ = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "4000000"}
    try:
        with started(tmp_path, settings=environ) as server:
            before = manager.until("READY")
            assert before.count("READY=1") == 1
            told = manager.until("STATUS")
            assert told[-1] == "STATUS=2 of 2 processes accept messages."
            manager.until("WATCHDOG=1")
            server.signal(signal.SIGHUP)
            manager.until("RELOADING=1")
            manager.until("READY=1")
            os.kill(server.pid_of(0), signal.SIGKILL)
            manager.until("STATUS=1 of 2")
            manager.until("STATUS=2 of 2")
            server.signal(signal.SIGTERM)
            manager.until("STOPPING=1")
            assert server.wait() == 0
    finally:
        manager.close()


# Its own size, and lines


def test_parent_has_nothing_of_the_server_in_it(tmp_path: Path) -> None:
    """It runs for months beside the children: a quarter of what one of them holds."""
    with started(tmp_path) as server:
        assert resident_kb(server.pid) < 24_000
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert not re.search("uvloop|aiohttp|pydantic|_ssl|cryptography", maps)


def test_long_lines_of_several_processes_are_not_torn(tmp_path: Path) -> None:
    """Those that a pipe does not take in one piece either."""
    with started(tmp_path, {0: ["pending"], 1: ["pending"], 2: ["pending"]}, processes=3) as server:
        until(lambda: min(len(server.of("library.warned", one)) for one in range(3)) >= 20)
        lengths = {len(line["logger"]) for line in server.events("library.warned")}
        assert lengths == {20_000}
        assert server.torn == []


# Unix sockets


def test_file_of_a_unix_socket_is_removed_by_the_parent(tmp_path: Path) -> None:
    """And not by the first child that ends."""
    path = tmp_path / "in.sock"
    with started(tmp_path, settings={"LISTEN": f"unix:{path}"}) as server:
        os.kill(server.pid_of(0), signal.SIGTERM)
        until(lambda: len(server.of("process.ready", 0)) == 2)
        assert path.exists()
        assert server.stop() == 0
        assert not path.exists()

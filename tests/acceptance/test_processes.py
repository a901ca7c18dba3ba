"""Servers of several processes, as operators have them: what one mistake in the start comes to, and
what they are told."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from dispatcher.testing.destination import Request
from dispatcher.testing.many import ManyProcesses
from dispatcher.testing.ports import KeptPort
from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import run
from tests.acceptance.wire import ask, get, post


def test_second_server_on_the_same_logs_ends_with_4_and_one_line(tmp_path: Path) -> None:
    """However many of its processes find a log in use. The first one goes on."""
    with ManyProcesses(tmp_path, 2) as first:
        second = ManyProcesses(tmp_path, 2)
        assert second.wait() == 4
        assert second.stderr.count("\n") == 1
        assert second.stderr.startswith("dispatcher: error: ")
        assert "the log is in use by process" in second.stderr
        assert first.stop() == 0


def test_log_that_is_damaged_ends_the_start_with_5(tmp_path: Path) -> None:
    """That of any of the processes: no message of it would be delivered."""
    with KeptPort() as nobody, ManyProcesses(tmp_path, 2) as server:
        for _ in range(24):
            message = post(f"127.0.0.1:{nobody.number}", body=b"x" * 100)
            assert ask(server.listen, message).id
        assert server.stop() == 0
    segment = min((tmp_path / "transaction.log" / "p1").glob("*.seg"))
    content = segment.read_bytes()
    at = content.index(b"x" * 100)
    segment.write_bytes(content[:at] + b"y" + content[at + 1 :])
    server = ManyProcesses(tmp_path, 2)
    assert server.wait() == 5
    assert "damaged at offset" in server.stderr
    assert server.stderr.count("\n") == 1


def test_keys_that_were_read_again_hold_in_all_processes_and_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    """SIGHUP goes to the parent, as systemd and people send it."""
    config = tmp_path / "dispatcher.toml"
    config.write_text('LISTEN_KEYS = "old"\n')
    with ManyProcesses(tmp_path, 2, DISPATCHER_CONFIG=str(config)) as server:
        config.write_text('LISTEN_KEYS = "new"\n')
        server.signal(signal.SIGHUP)
        eventually(lambda: len(server.events("settings.reloaded")) == 2)
        os.kill(server.pid_of(1), signal.SIGKILL)
        eventually(lambda: len(server.of("process.ready", 1)) == 2)
        for key, status in (("old", 401), ("new", 202)) * 8:
            one = post(receiver.authority, f"X-Dispatcher-Key: {key}")
            assert ask(server.listen, one).status == status


def versions(server: ManyProcesses, receiver: Receiver) -> dict[int, set[str]]:
    """Send messages on connections of their own until both of two processes have taken some; what
    was added to them, by the process that delivered them."""
    sent: set[str] = set()
    while len(sent) < 16 or {int(one[:4], 16) for one in sent} != {0, 1}:
        answer = ask(server.listen, post(receiver.authority))
        assert answer.status == 202
        sent.add(answer.id)
    found: dict[int, set[str]] = {}
    eventually(lambda: {_headers(one)[0] for one in receiver.requests} >= sent)
    for one in receiver.requests:
        message_id, version = _headers(one)
        if message_id in sent:
            found.setdefault(int(message_id[:4], 16), set()).add(version)
    return found


def _headers(request: Request) -> tuple[str, str]:
    return request.headers["x-dispatcher-message-id"], request.headers.get("x-version", "none")


def test_rules_that_were_read_again_hold_in_all_processes_and_after_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    """For what each of them delivers. A mistake leaves all of them with the rules they had, and the
    process that is started again too."""
    config = tmp_path / "dispatcher.toml"

    def rule(version: str) -> None:
        table = f'[[destination]]\nmatch = "{receiver.authority}"\n'
        config.write_text(f"{table}headers = {{X-Version = {version}}}\n")

    rule('"first"')
    with ManyProcesses(tmp_path, 2, DISPATCHER_CONFIG=str(config)) as server:
        assert versions(server, receiver) == {0: {"first"}, 1: {"first"}}
        rule('"second"')
        server.signal(signal.SIGHUP)
        eventually(lambda: len(server.events("settings.reloaded")) == 2)
        assert versions(server, receiver) == {0: {"second"}, 1: {"second"}}
        rule("7")
        server.signal(signal.SIGHUP)
        eventually(lambda: len(server.events("settings.kept")) == 2)
        os.kill(server.pid_of(1), signal.SIGKILL)
        eventually(lambda: len(server.of("process.ready", 1)) == 2)
        assert versions(server, receiver) == {0: {"second"}, 1: {"second"}}


def test_lines_of_the_log_say_which_process_wrote_them(tmp_path: Path) -> None:
    """Those too that are about another one."""
    with ManyProcesses(tmp_path, 2) as server:
        eventually(lambda: len(server.events("peer.connected")) == 2)
        pairs = {(line["process"], line["peer"]) for line in server.events("peer.connected")}
        assert pairs == {(0, 1), (1, 0)}


def test_operators_see_one_server_and_what_became_of_its_processes(tmp_path: Path) -> None:
    """At the address of the API, which stays while the process that answers there is another."""
    with KeptPort() as kept:
        kept.let_go()
        with ManyProcesses(tmp_path, 2, API_LISTEN=f"127.0.0.1:{kept.number}") as server:
            os.kill(server.pid_of(0), signal.SIGKILL)
            eventually(lambda: len(server.of("process.ready", 0)) == 2)
            assert get(server.api, "/readyz").status == 200
            metrics = get(server.api, "/metrics").body.decode()
            assert "\ndispatcher_process_restarts_total 1.0\n" in metrics


def test_process_that_hangs_is_said_to_be_away_until_it_answers(tmp_path: Path) -> None:
    """With what waits for it, and an exit code for scripts; then all is well again."""
    with ManyProcesses(tmp_path, 2) as server:
        where = {"DISPATCHER_API": "http://{}:{}".format(*server.api)}

        def status() -> tuple[int, str]:
            told = run(tmp_path, "cluster", "status", **where)
            assert told.returncode in (0, 1), told.stderr
            return told.returncode, told.stdout

        eventually(lambda: status()[0] == 0)
        pid = server.pid_of(1)
        os.kill(pid, signal.SIGSTOP)
        try:
            code, shown = status()
            told = run(tmp_path, "status", **where)
        finally:
            with suppress(ProcessLookupError):  # its parent waits for ten seconds, and kills it
                os.kill(pid, signal.SIGCONT)
        assert code == 1
        members, partitions = shown.split("\n\n")
        assert [line.split()[2] for line in members.splitlines()[1:]] == ["live", "away"]
        assert [line.split()[:3] for line in partitions.splitlines()[1:]] == [
            ["0", "0", "open"],
            ["1", "1", "away"],
        ]
        assert told.returncode == 1
        assert told.stdout.startswith("error    Process 1 has not answered for ")
        assert "until then what partition 1 has waits." in told.stdout
        eventually(lambda: status()[0] == 0)
        assert run(tmp_path, "status", **where).stdout.startswith("ok       Nothing is wrong.")

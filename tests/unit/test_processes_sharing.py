"""What a parent gives its children: parts of the node's settings, the plan, and lines to talk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.node.layout import Layout
from dispatcher.node.processes import handing, plan, shares
from dispatcher.node.processes.life import Timings
from dispatcher.node.processes.line import ALIVE, READY, Heard, said
from dispatcher.node.processes.start import Start
from dispatcher.settings import Settings
from dispatcher.settings.rules import load
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.telemetry.plain import PlainLog


def settings_of(**environ: str) -> Settings:
    """Settings that were read."""
    return Settings.load(environ)


# Parts


@given(whole=st.integers(0, 10**6), of=st.integers(1, 64))
def test_parts_are_the_whole_and_differ_by_one_at_most(whole: int, of: int) -> None:
    """The first ones get the rest."""
    parts = [shares.part(whole, number, of) for number in range(of)]
    assert sum(parts) == whole
    assert parts == sorted(parts, reverse=True)
    assert max(parts) - min(parts) <= 1


def test_limits_of_a_node_are_shared_out() -> None:
    """A destination sees as many attempts at once as ever, and a disk as many bytes."""
    whole = settings_of(
        WORKER="10", WORKER_SLOW="7", MAX_BACKLOG_BYTES="100", DEAD_LETTER_MAX_BYTES="8"
    )
    parts = [shares.of_child(whole, number, 3) for number in range(3)]
    assert [one.worker for one in parts] == [4, 3, 3]
    assert [one.worker_slow for one in parts] == [3, 2, 2]
    assert [one.max_backlog_bytes for one in parts] == [34, 33, 33]
    assert [one.dead_letter_max_bytes for one in parts] == [3, 3, 2]
    assert whole.worker == 10


def test_no_limit_is_none_for_each_and_a_small_one_is_none_of_them() -> None:
    """0 stands for no limit: a part of a limit must not come to that."""
    none = shares.of_child(settings_of(), 1, 2)
    assert none.max_backlog_bytes == 0
    small = settings_of(MAX_BACKLOG_BYTES="1", DEAD_LETTER_MAX_BYTES="1", WORKER_SLOW="1")
    last = shares.of_child(small, 1, 2)
    assert (last.max_backlog_bytes, last.dead_letter_max_bytes, last.worker_slow) == (1, 1, 1)


def test_settings_that_were_not_given_count_as_not_given() -> None:
    """Nobody is warned that a default was reduced."""
    part = shares.of_child(settings_of(WORKER="4"), 0, 2)
    assert part.model_fields_set == {"worker"}


def test_what_one_process_has_alone_is_not_shared_out() -> None:
    """Function calls, their results and the audit's trail are the first one's."""
    whole = settings_of(CALL_WORKER="9", RESULT_MAX_BYTES="1000")
    first = shares.of_child(whole, 0, 4)
    assert (first.call_worker, first.result_max_bytes) == (9, 1000)


# The parent

NEVER = {"asyncio", "uvloop", "aiohttp", "pydantic", "structlog", "ssl", "cryptography"}


def test_parent_imports_nothing_of_the_server() -> None:
    """So it stays as small as it is, and nothing that breaks a child breaks it."""
    program = "import dispatcher.node.processes.parent, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    found = set(done.stdout.split())
    assert not found & NEVER
    assert {name for name in found if name.startswith("dispatcher.") and name.count(".") == 1} <= {
        "dispatcher.core",
        "dispatcher.node",
        "dispatcher.telemetry",
    }


# The plan


def test_plan_is_read_as_it_was_written_by_everybody_who_has_the_file() -> None:
    """The second one finds it where the first one did."""
    written = plan.Plan(
        version="1",
        processes=2,
        child=["python"],
        timings=Timings(stop_s=3),
        log_level="info",
        log_format="json",
        sockets={plan.LISTEN: [5, 6]},
        unix_files=[plan.UnixFile("/tmp/x", 1, 2)],
        ready={"listen": ["127.0.0.1:80"]},
    )
    common = b"of\nthe server"
    file = plan.write(written, common)
    try:
        assert plan.read(file) == (written, common)
        assert plan.read(file) == (written, common)
        assert os.get_inheritable(file)
        assert written.descriptors == [5, 6]
    finally:
        os.close(file)


@pytest.mark.parametrize(
    "start",
    [
        Start(3, 0, is_again=False, is_reloaded=False, taken=None),
        Start(3, 1, is_again=True, is_reloaded=True, taken=0),
    ],
)
def test_start_of_a_child_is_read_as_it_was_written(start: Start) -> None:
    """Its command says all that the parent knows, also with the descriptor 0."""
    assert Start.read(start.written()) == start


# Lines between them


def test_what_is_said_is_heard_however_it_comes_in() -> None:
    """In pieces, and several at once."""
    data = said(ALIVE) + said(READY, pending=3, took_ms=4) + said(ALIVE)
    expected = [(ALIVE, {}), (READY, {"pending": 3, "took_ms": 4}), (ALIVE, {})]
    for size in (1, 7, 1000):
        heard = Heard()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [one for piece in pieces for one in heard.feed(piece)] == expected


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[1]\n", b"3\n", b"\xff\n"])
def test_what_is_not_known_is_passed_over(line: bytes) -> None:
    """A child of another version says something else."""
    assert list(Heard().feed(line + said(ALIVE))) == [(ALIVE, {})]


# Lines of the log


def test_plain_log_writes_what_the_log_writes() -> None:
    """To the byte, but for the time."""
    plain: list[str] = []
    full: list[str] = []
    both = [
        Events(PlainLog(plain.append, level="info")),
        Events(open_log(full.append, level="info", format="json")),
    ]
    for events in both:
        events.process_started(process=1, pid=2)
        events.server_starting(version="ü", pid=1, changed={"A": [1, None]}, settings={})
        events.handshake_failed(listener="api", reason="plain", detail="", address="")
        try:
            raise ValueError("no")
        except ValueError as error:
            events.server_crashed(exc_info=error)
    assert [_without_time(line) for line in plain] == [_without_time(line) for line in full]
    assert [events.is_debug for events in both] == [False, False]
    assert len(plain) == 3


def _without_time(line: str) -> str:
    time = json.loads(line)["timestamp"]
    return line.replace(time, "")


def test_children_are_handed_settings_and_rules_as_they_were_read(tmp_path: Path) -> None:
    """Compiled too, where what is frozen cannot be set field by field."""
    file = tmp_path / "dispatcher.toml"
    file.write_text(
        """
        [[destination]]
        match = "https://api.example.com"
        rate = "50/s"
        concurrency = 4
        headers = { Authorization = "env:TOKEN" }

        [[destination]]
        match = "*.partner.example/orders"
        timeout = "1m"
        ack = [409]

        [[group]]
        name = "all"
        members = ["https://a.example", "b.example:8443/base"]
        """
    )
    environ = {"DISPATCHER_CONFIG": str(file), "TOKEN": "secret", "LISTEN": "127.0.0.1:0"}
    settings = Settings.load(environ)
    rules = load(environ)
    assert len(rules.rules) == 2
    found_settings, found_rules, layout = handing.decode(
        handing.encode((settings, rules, Layout(2)))
    )
    assert found_settings == settings
    assert found_rules == rules
    assert layout == Layout(2)
    origins = [group.members for group in rules.groups]
    assert [group.members for group in found_rules.groups] == origins

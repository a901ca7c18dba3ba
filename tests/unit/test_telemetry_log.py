"""Log lines: their shape, what is in them, what is never in them, and where they go."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dispatcher.telemetry import output
from dispatcher.telemetry.events import EVENTS, Events
from dispatcher.telemetry.log import Level, open_log
from dispatcher.telemetry.output import FileTurns, LineOutput
from dispatcher.telemetry.stdlib import ToEvents


def events_to(lines: list[str], level: Level = "debug") -> Events:
    """Events that end up in `lines`, as JSON."""
    return Events(open_log(lines.append, level=level, format="json"))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of the smallest size the kernel makes: one page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test closed it


# Lines


def test_line_has_time_level_event_and_fields_in_this_order() -> None:
    """A person can read JSON lines too when they begin alike."""
    lines: list[str] = []
    events_to(lines).log_failed(path="transaction.log", reason="EIO")
    fields = json.loads(lines[0])
    assert list(fields) == ["timestamp", "level", "event", "path", "reason"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields["timestamp"])
    assert fields["level"] == "error"
    assert fields["event"] == "log.failed"


def test_line_for_people_has_no_python_in_it() -> None:
    """Lists and mappings are written flat."""
    lines: list[str] = []
    events = Events(open_log(lines.append, level="info", format="console"))
    changed = {"LISTEN": ":80", "RETRY_ON": [404, 409], "EGRESS_DENY": [], "EVENT_SOURCING": False}
    events.server_starting(version="1", pid=2, changed=changed, settings={})
    assert "LISTEN=:80 RETRY_ON=404,409 EGRESS_DENY=none EVENT_SOURCING=false" in lines[0]
    assert not set("{}[]") & set(lines[0].partition("]")[2])


def test_first_line_on_a_terminal_names_only_what_was_changed() -> None:
    """Thirty settings at their defaults hide the two that are not; machines get all of them."""
    lines: list[str] = []
    for format in ("console", "json"):
        events = Events(open_log(lines.append, level="info", format=format))
        settings = {"LISTEN": ":8080", "WORKER": 10}
        events.server_starting(version="1", pid=2, changed={"LISTEN": ":8080"}, settings=settings)
    assert ":8080" in lines[0]
    assert "WORKER" not in lines[0]
    assert json.loads(lines[1])["settings"] == settings


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_event_is_written_when_it_is_at_the_level_or_above(
    level: Level, written: list[str]
) -> None:
    """Each level is exactly itself and what is worse."""
    lines: list[str] = []
    events = events_to(lines, level)
    events.message_accepted(id="x", method="GET", destination="http://b", size_bytes=2)
    events.log_space_again(path="x")
    events.server_abandoned(in_flight=1)
    events.log_disk_full(path="x")
    assert [json.loads(line)["level"] for line in lines] == written
    assert events.is_debug is (level == "debug")


def test_json_line_stays_one_line_when_a_field_has_line_ends() -> None:
    """What a destination says cannot forge a line."""
    lines: list[str] = []
    events_to(lines).log_failed(path="x", reason='a\n{"event": "b"}\u2028\x1b[0m')
    assert len(lines[0].splitlines()) == 1 or "\n" not in lines[0]
    assert json.loads(lines[0])["reason"] == 'a\n{"event": "b"}\u2028\x1b[0m'


def test_console_line_has_columns_and_no_json() -> None:
    """The format for people."""
    lines: list[str] = []
    log = open_log(lines.append, level="info", format="console")
    Events(log).destination_reopened(destination="http://a.example")
    assert "[info     ] destination.reopened" in lines[0]
    assert lines[0].rstrip().endswith("destination=http://a.example")


def test_console_line_leaves_out_what_there_is_none_of() -> None:
    """A person reads what there is; JSON keeps its null for machines."""
    fields: Any = {"key": None, "selection": {}, "count": 0, "error": None, "job": None}
    people: list[str] = []
    machines: list[str] = []
    Events(open_log(people.append, level="info", format="console")).operated("held", **fields)
    Events(open_log(machines.append, level="info", format="json")).operated("held", **fields)
    assert people[0].split("operator.held")[1].split() == ["selection=none", "count=0"]
    assert json.loads(machines[0])["key"] is None


@pytest.mark.parametrize("format", ["json", "console"])
def test_traceback_is_written_without_local_variables(format: str) -> None:
    """Local variables hold keys and bodies."""
    lines: list[str] = []
    log = open_log(lines.append, level="info", format="json" if format == "json" else "console")
    try:
        secret = "sesame" + str(len(lines))
        raise ValueError(len(secret))
    except ValueError as error:
        Events(log).server_crashed(exc_info=error)
    assert "Traceback" in lines[0]
    assert "ValueError: 7" in lines[0]
    assert "sesame0" not in lines[0]


def test_warning_of_a_library_becomes_an_event() -> None:
    """asyncio tells about forgotten exceptions in this way."""
    lines: list[str] = []
    logger = logging.Logger("asyncio")
    logger.addHandler(ToEvents(events_to(lines)))
    logger.info("not this")
    logger.warning("%s is slow", "it")
    logger.error("lost", exc_info=ValueError("x"))
    first, second = (json.loads(line) for line in lines)
    assert (first["event"], first["logger"], first["text"]) == (
        "library.warned",
        "asyncio",
        "it is slow",
    )
    assert "exception" not in first
    assert "ValueError: x" in second["exception"]


# The list


def test_every_event_is_named_noun_verbed_once_and_explained() -> None:
    """The list is the documentation."""
    names = [event.name for event in EVENTS]
    assert len(names) == len(set(names))
    for event in EVENTS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", event.name)
        assert event.meaning.endswith(".")
        assert event.fields


# Where lines go


def test_output_writes_lines_at_once(pipe: tuple[int, int]) -> None:
    """They are there when the process dies the next moment."""
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    out = LineOutput(writer)
    out.write("one")
    out.write("zwei: ä \udcff")
    assert os.read(reader, 4096) == b"one\nzwei: \xc3\xa4 \\udcff\n"
    assert out.lost == 0


def test_output_never_waits_when_the_reader_does_not_read(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines wait, then are dropped and counted; the writer goes on. Later they come in order."""
    monkeypatch.setattr(output, "MAX_WAITING_LINES", 10)
    reader, writer = pipe
    out = LineOutput(writer)
    line = "x" * 4095
    for _ in range(20):
        out.write(line)
    assert out.lost == 9  # one is in the pipe, ten wait
    read = b""
    for _ in range(11):
        read += os.read(reader, 4096)
        out.flush()
    assert read == (line.encode() + b"\n") * 11


def test_output_writes_a_line_whole_when_it_is_larger_than_the_pipe(pipe: tuple[int, int]) -> None:
    """In pieces, as the reader takes them, and nothing between them."""
    reader, writer = pipe
    out = LineOutput(writer)
    out.write("y" * 10_000)
    out.write("z")
    read = b""
    while len(read) < 10_003:
        read += os.read(reader, 65536)
        out.flush()
    assert read == b"y" * 10_000 + b"\nz\n"


def test_output_goes_on_when_the_reader_is_gone(pipe: tuple[int, int]) -> None:
    """`dispatcher | head` must not end the server."""
    reader, writer = pipe
    out = LineOutput(writer)
    os.close(reader)
    out.write("one")
    out.write("two")
    assert out.lost == 2


def test_close_gives_up_when_the_reader_takes_nothing(pipe: tuple[int, int]) -> None:
    """Stopping has a deadline."""
    _, writer = pipe
    out = LineOutput(writer)
    out.write("x" * 4095)
    out.write("waits")
    out.close(timeout_ms=20)
    assert out.lost == 1


# Several processes


@pytest.fixture
def turns_file() -> Iterator[int]:
    """A file for turns."""
    with tempfile.TemporaryFile() as file:
        file.write(b"\0")
        file.flush()
        yield file.fileno()


OTHER = """
import os, sys
from dispatcher.telemetry.output import FileTurns, LineOutput
turns_file, writer, told, hears, length = map(int, sys.argv[1:])
turns = FileTurns(turns_file)
if length:
    LineOutput(writer, turns).write("x" * length)
else:
    turns.take()
os.write(told, b"x")
os.read(hears, 1)
os._exit(0)
"""
"""Another process: it writes a line, or takes a turn, and ends in the middle of that once it is
told to."""


@contextmanager
def other(writer: int, turns_file: int, length: int) -> Iterator[None]:
    """Until this ends, another process has a turn, and has written what it can of a line."""
    told, its_told = os.pipe()
    its_hears, hears = os.pipe()
    arguments = [turns_file, writer, its_told, its_hears, length]
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, *map(str, arguments)], pass_fds=arguments[:-1]
    ):
        os.close(its_told)
        assert os.read(told, 1) == b"x"
        yield
        os.write(hears, b"x")
    for one in (told, its_hears, hears):
        os.close(one)


def test_line_waits_for_its_turn(pipe: tuple[int, int], turns_file: int) -> None:
    """Between the pieces of another process's line comes nothing, and it is written in the end."""
    reader, writer = pipe
    out = LineOutput(writer, FileTurns(turns_file))
    with other(writer, turns_file, 0):
        out.write("mine")
        assert not out.flush()
    assert out.flush()
    assert os.read(reader, 100) == b"mine\n"


def test_line_of_a_process_that_died_within_it_is_ended_by_the_next(
    pipe: tuple[int, int], turns_file: int
) -> None:
    """One line is torn, and not two."""
    reader, writer = pipe
    with other(writer, turns_file, 6000):
        assert os.read(reader, 10_000) == b"x" * 4096
    out = LineOutput(writer, FileTurns(turns_file))
    out.write("mine")
    assert os.read(reader, 100) == b"\n"
    out.write("again")
    assert os.read(reader, 100) == b"mine\n"

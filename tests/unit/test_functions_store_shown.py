"""What `dispatcher log dump` says of the records of calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dispatcher.cli.main import main
from dispatcher.functions.events import (
    CancelAsked,
    Completed,
    Created,
    Dropped,
    Event,
    Exited,
    Fact,
    NewCall,
    Polled,
    Sent,
    TailCalled,
)
from dispatcher.functions.model import How, StateArm
from dispatcher.functions.store.records import chunks_of, decoded, encoded
from dispatcher.functions.store.shown import is_of_calls, show_call_record
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.shown import as_text
from dispatcher.txlog.files import FileLog
from tests.golden.calls_life import load
from tests.golden.test_calls import EVENTS

KEY = 1 << 64 | 1 << 63 | 5
SECRET = b"a-secret-of-the-caller"


def records(version: int) -> list[tuple[int, bytes]]:
    """The records of calls in a golden log."""
    found = [(position, bytes.fromhex(data)) for position, data in load(version)["log"]]
    return [(position, payload) for position, payload in found if is_of_calls(payload)]


@pytest.mark.parametrize("version", EVENTS)
def test_record_of_every_event_says_what_happened_to_which_calls(version: int) -> None:
    """With ids, names and sizes; of what is not about calls, whose it is."""
    seen: set[str] = set()
    for position, payload in records(version):
        shown = show_call_record(position, payload)
        assert "unreadable" not in shown, shown
        assert shown["kind"] in ("calls", "calls_large")
        event = str(shown["event"])
        seen.add(event)
        assert {"id", "ids", "name", "facts", "bytes"} & set(shown), shown
        for one in [shown.get("id"), shown.get("parent"), *_words(shown.get("ids"))]:
            assert one is None or len(str(one)) == 28
    assert seen >= {
        *("created", "polled", "exited", "tail_called", "restarted", "resuming", "retried"),
        *("ended", "cancel_asked", "completed", "sent", "noted", "forgotten", "gone", "copied"),
    }


def test_what_is_shown_is_what_was_stored() -> None:
    """Functions, states, and which call is whose."""
    shown = [show_call_record(*record) for record in records(max(EVENTS))]
    created = next(one for one in shown if one["event"] == "created" and one.get("ids"))
    assert created["application"] == "app"
    assert len(_words(created["functions"])) >= 1
    assert int(str(created["input_bytes"])) > 0
    known = {one for record in shown for one in _words(record.get("ids"))}
    polled = next(one for one in shown if one["event"] == "polled" and one.get("ids"))
    assert polled["id"] in known
    assert not set(_words(polled["ids"])) & {polled["id"]}
    assert int(str(polled["state_bytes"])) > 0
    exited = next(one for one in shown if one["event"] == "exited")
    assert exited["how"] in ("ok", "failed")


def test_no_bytes_of_an_input_a_state_or_a_result_are_shown() -> None:
    """They are callers', and so are the names of idempotency keys."""
    call = NewCall(KEY + 1, 1, "http://app", "f", "v", 1, 2, SECRET)
    events: list[Event] = [
        Created("app", (call,), (Fact("idempotency", SECRET.decode(), SECRET),)),
        Polled(KEY, 0, 0, False, StateArm.LEGACY, SECRET, 7, False, (call,), 1, 1, 0, error=SECRET),
        Exited(KEY, 0, How.OK, SECRET, is_error=False, at_us=1),
        TailCalled(KEY, 0, "http://app", "g", "v", SECRET),
        CancelAsked(KEY, SECRET, SECRET, 1),
        Dropped(KEY, (KEY + 1,), SECRET, SECRET, 1),
        Completed("app", "order", SECRET, False, 1, 2),
        Sent("app", "orders", SECRET, False, 2, KEY),
    ]
    for event in events:
        shown = show_call_record(1 << 20, encoded(event).small())
        assert "unreadable" not in shown, shown
        text = as_text(shown)
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text
        assert str(len(SECRET)) in text or isinstance(event, CancelAsked | Dropped)


def test_chunks_are_named_by_their_positions() -> None:
    """So that one can tell whose they are."""
    large = [one for one in records(max(EVENTS)) if one[1][0] == Kind.CALLS_LARGE]
    assert large
    chunks = {
        position for position, data in load(max(EVENTS))["log"] if bytes.fromhex(data)[0] == 2
    }
    for position, payload in large:
        named = _words(show_call_record(position, payload)["chunks"])
        assert named == [f"{one:#x}" for one in chunks_of(payload) or ()]
        assert {int(one, 16) for one in named} <= chunks


def test_record_that_cannot_be_read_says_so() -> None:
    """A log is looked at because something is wrong."""
    _, payload = records(1)[0]
    assert "unreadable" in show_call_record(1, payload[:9])
    of_the_future = bytes([payload[0], 0x7F]) + payload[2:]
    assert show_call_record(1, of_the_future)["unreadable"] == "not known to this version"


def test_dump_shows_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside messages, in lines and as JSON."""
    (payload,) = [
        record[1] for record in records(max(EVENTS)) if isinstance(decoded(*record), Polled)
    ][:1]

    async def write() -> None:
        log = FileLog(tmp_path / "log")
        await log.open("test", 1)
        await log.append([payload])
        await log.close()

    asyncio.run(write())
    for arguments in ([], ["--json"]):
        with pytest.raises(SystemExit):
            main(["log", "dump", "--path", str(tmp_path / "log"), *arguments])
        said = capsys.readouterr().out
        for word in ("polled", "state_bytes", "step"):
            assert word in said


def _words(value: Any) -> list[str]:
    return list(value or ())

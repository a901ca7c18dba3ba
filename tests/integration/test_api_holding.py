"""What an operator asks for never holds up the event loop, which is the one of the hot path.

No limit here is one of time, which differs from machine to machine: how long the loop is held is
compared with what the same work takes in one go, in the same process at the same moment.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from pydantic import TypeAdapter

from dispatcher.api import fields, openapi, reading
from dispatcher.api.letter_models import FullLetter, Group, Groups, Letters
from dispatcher.api.portions import cut
from dispatcher.api.selectors import MAX_IDS
from dispatcher.api.stats_models import Lane
from dispatcher.queue.admin.surface import (
    LanePage,
    LaneView,
    LetterFilter,
    LetterGone,
    LetterGroup,
    LetterGroups,
)
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.testing.admin import letter, message_id
from dispatcher.testing.api import ApiBench

T = TypeVar("T")

PART = 1 / 8
"""Of what all of it takes in one go: several times what a portion takes."""
TRIES = 20
"""What the work does by itself it does every time, what a busy machine adds it does not."""
MANY = 8_000
AT_US = 1_767_225_600_000_000
ROOT = "/v1/dead-letters"


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


async def part_held(
    work: Callable[[], Coroutine[Any, Any, T]], in_one_go: Callable[[], object]
) -> tuple[T, float]:
    """What comes of the work, and the longest time between two turns of the loop meanwhile, as a
    part of what `in_one_go` takes, which does the same.

    Of processor time: what other processes take does not count, a thread that keeps the
    interpreter's lock does. The least of several tries of both, until it is little.
    """
    whole_s = min(_taken_by(in_one_go) for _ in range(2))
    found, longest_s = await _held_by(work())
    for _ in range(TRIES):
        if longest_s < PART * whole_s:
            break
        whole_s = min(whole_s, _taken_by(in_one_go))
        found, again_s = await _held_by(work())
        longest_s = min(longest_s, again_s)
    return found, longest_s / whole_s


def _taken_by(work: Callable[[], object]) -> float:
    gc.collect()
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


async def _held_by(work: Coroutine[Any, Any, T]) -> tuple[T, float]:
    gc.collect()
    gc.freeze()  # what the tests before have left is nothing that a server would look through
    longest_s = 0.0
    task = asyncio.ensure_future(work)
    last_s = time.process_time()
    while not task.done():
        await asyncio.sleep(0)
        now_s = time.process_time()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    return task.result(), longest_s


async def asked(api: ApiBench, path: str, sent: bytes = b"") -> list[bytes]:
    """The body of an answer made anew, in small pieces: this is the loop that is watched."""
    api.server._expensive.forget()
    reader, writer = await asyncio.open_connection(*api.address)
    head = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    writer.write(f"{'POST' if sent else 'GET'} {path} HTTP/1.0\r\n{head}".encode() + sent)
    await reader.readuntil(b"\r\n\r\n")
    pieces = []
    while piece := await reader.read(64 * 1024):
        pieces.append(piece)
    writer.close()
    return pieces


async def test_letter_with_a_large_body_holds_up_nothing(api: ApiBench) -> None:
    """Neither Base64 nor JSON of all of it is made at once."""
    body = bytes(range(256)) * (32 * 4096)
    api.admin.bury(letter(1, body=body))
    pieces, part = await part_held(
        lambda: asked(api, f"{ROOT}/{message_id(1)}"),
        lambda: json.dumps(base64.b64encode(body).decode()),
    )
    assert base64.b64decode(json.loads(b"".join(pieces))["body"]) == body
    assert part < PART


async def test_stats_with_many_lanes_hold_up_nothing(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written in portions, in the order of the queue."""
    lanes = [
        LaneView(f"https://host{number:05}.example", 1, 2, 3, 4, AT_US, False, "closed")
        for number in range(MANY)
    ]

    async def told(*_: object, **__: object) -> LanePage:
        return LanePage(lanes, MANY, None)

    monkeypatch.setattr(api.admin, "lanes", told)
    rows = TypeAdapter(list[Lane])
    pieces, part = await part_held(
        lambda: asked(api, "/v1/stats"), lambda: rows.dump_json(rows.validate_python(lanes))
    )
    shown = json.loads(b"".join(pieces))["lanes"]
    assert [one["destination"] for one in shown] == [one.destination for one in lanes]
    assert part < PART


async def test_many_groups_hold_up_nothing(api: ApiBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written in portions, the largest first."""
    groups = [
        LetterGroup("https://a.example", None, "timeout", "rejected", count, 9, AT_US, AT_US)
        for count in range(MANY, 0, -1)
    ]

    async def told(_: LetterFilter) -> LetterGroups:
        return LetterGroups(groups, MANY)

    monkeypatch.setattr(api.admin, "letter_groups", told)
    rows = TypeAdapter(list[Group])
    pieces, part = await part_held(
        lambda: asked(api, f"{ROOT}/groups"), lambda: rows.dump_json(rows.validate_python(groups))
    )
    shown = json.loads(b"".join(pieces))["items"]
    assert [one["count"] for one in shown] == list(range(MANY, 0, -1))
    assert part < PART


@pytest.mark.parametrize("element", [b"[]", b"0", b'{"a":0}', b'"a,b,c"'])
async def test_body_of_many_elements_holds_up_nothing(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch, element: bytes
) -> None:
    """It is refused before it is read: no call takes so many."""
    monkeypatch.setattr(reading, "json", None)
    sent = b'{"ids":[' + b",".join([element] * (1_000_000 // (len(element) + 1))) + b"]}"
    answered = json.loads(b"".join(await asked(api, f"{ROOT}/redrive", sent)))
    assert answered["error"] == "body_invalid"
    assert "20000" in answered["message"]


@pytest.mark.parametrize(("call", "word"), [("redrive", "redriven"), ("purge", "purged")])
async def test_as_many_ids_as_may_be_are_checked_in_portions(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch, call: str, word: str
) -> None:
    """The loop has turns between them; that none of them is known is said without another check."""
    checked: list[str] = []
    at_once: list[int] = []

    def counted(spelling: str) -> re.Match[str] | None:
        checked.append(spelling)
        return re.fullmatch("[0-9a-f]{28}", spelling)

    monkeypatch.setattr(fields, "_ID", SimpleNamespace(fullmatch=counted))
    ids = [message_id(number) for number in range(MAX_IDS)]
    sent = json.dumps({"ids": ids}, indent=0).encode()
    asking = asyncio.ensure_future(asked(api, f"{ROOT}/{call}", sent))
    while not asking.done():
        before = len(checked)
        await asyncio.sleep(0)
        at_once.append(len(checked) - before)
    assert json.loads(b"".join(await asking)) == {word: 0, "not_found": ids}
    assert checked == ids
    assert max(at_once) <= MAX_IDS // 10


@pytest.mark.parametrize(
    "size",
    [0, 1, 2, 3, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 2],
)
async def test_letter_is_the_same_as_if_it_were_written_at_once(api: ApiBench, size: int) -> None:
    """To the byte; its length is known before, and `HEAD` says it too."""
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    detail = letter(1, body=body)
    detail = replace(detail, detail='"body":" and \\"body\\":"')
    api.admin.bury(detail)
    shown = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in detail.headers]
    whole = FullLetter.of(detail, shown).model_copy(
        update={"body": base64.b64encode(body).decode("ascii")}
    )
    path = f"{ROOT}/{message_id(1)}"
    status, headers, text = await api.ask(path)
    assert (status, text) == (200, whole.model_dump_json() + "\n")
    assert headers["Content-Length"] == str(len(text.encode()))
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    status, headers, nothing = await api.ask(path, "HEAD")
    assert (status, headers["Content-Length"], nothing) == (200, str(len(text.encode())), "")


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
async def test_list_is_the_same_as_if_it_were_written_at_once(api: ApiBench, count: int) -> None:
    """Every element once, in order, on the borders of portions too."""
    for number in range(1, count + 1):
        api.admin.bury(letter(number))
    items = [detail.letter for detail in api.admin.dead.values()]
    whole = Letters.model_validate({"items": items, "next": None})
    assert (await api.ask(f"{ROOT}?limit=1000"))[2] == whole.model_dump_json() + "\n"
    groups = await api.admin.letter_groups(LetterFilter())
    spelled = Groups.model_validate({"items": groups.items, "total": groups.total})
    assert (await api.ask(f"{ROOT}/groups"))[2] == spelled.model_dump_json() + "\n"


async def test_reader_that_goes_away_is_no_error(api: ApiBench) -> None:
    """An operator who closes the tab does not ask anybody to act."""
    api.server.pace._rest_s = 0.01
    api.admin.bury(letter(1, body=bytes(10 * CHUNK_BYTES)))
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(f"GET {ROOT}/{message_id(1)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    await asyncio.sleep(0.15)
    assert api.lines == []
    assert (await api.ask("/healthz"))[0] == 200


async def test_answer_that_breaks_off_is_cut_and_logged(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader sees that it is not whole, and does not wait for the rest."""
    encode = base64.b64encode
    calls = iter(range(10))

    def fails_later(piece: bytes) -> bytes:
        if next(calls):
            raise RuntimeError("unforeseen")
        return encode(piece)

    api.admin.bury(letter(1, body=bytes(2 * CHUNK_BYTES)))
    monkeypatch.setattr(base64, "b64encode", fails_later)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(f"GET {ROOT}/{message_id(1)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        async with asyncio.timeout(60):
            await reader.readexactly(3 * CHUNK_BYTES)
    writer.close()
    assert [json.loads(line)["event"] for line in api.lines] == ["api.failed"]


async def test_letter_that_goes_away_while_it_is_shown_is_cut_and_not_logged(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody redrove or purged it: nobody has to act."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise LetterGone

    api.admin.bury(replace(letter(1), body=pieces()))
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(f"GET {ROOT}/{message_id(1)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        async with asyncio.timeout(60):
            await reader.readexactly(10_000)
    writer.close()
    assert api.lines == []


async def test_description_is_made_once_and_holds_nobody_up(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes tens of milliseconds, and is the same all the time: not on the loop's thread."""
    makers: list[int] = []
    made = openapi.document

    def make(*args: Any, **options: Any) -> dict[str, Any]:
        makers.append(threading.get_ident())
        return made(*args, **options)

    monkeypatch.setattr(openapi, "document", make)
    first, second = await asyncio.gather(*(api.get("/openapi.json") for _ in range(2)))
    assert first["openapi"] == "3.1.0"
    assert second == first == await api.get("/openapi.json")
    assert len(makers) == 1
    assert threading.get_ident() not in makers


def test_document_is_not_cut_where_the_mark_is_not() -> None:
    """A field that was renamed is noticed, not left out."""
    with pytest.raises(ValueError, match="Groups"):
        cut(Groups(items=[], total=0), '"rows":[')
    assert cut(Groups(items=[], total=0), '"items":[') == (b'{"items":[', b'],"total":0}\n')

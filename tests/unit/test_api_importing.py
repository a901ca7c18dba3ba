"""An import says what it stored, whatever ends it, so that who goes on makes no second copy."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dispatcher.api.body_field import most_line_bytes
from dispatcher.api.importing import Import, Imported, read_lines
from dispatcher.core.message import Message
from dispatcher.errors import Refused
from dispatcher.queue.admin.surface import Death
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.queue.refusals import DISK_FULL, IDEMPOTENCY_CONFLICT
from dispatcher.testing.carrier import MemoryCarrier
from dispatcher.testing.loop import others, run

MAX_BODY = 3 * CHUNK_BYTES


def line(name: str = "x", **fields: Any) -> bytes:
    """A line of an import."""
    given = {"destination": "a.example", "method": "POST", "target": f"/{name}", **fields}
    return json.dumps(given).encode() + b"\n"


class Pieces:
    """A body that comes in these pieces, one each `seconds`, and then ends, or is cut short."""

    def __init__(self, *pieces: bytes, seconds: float = 0, cut: bool = False) -> None:
        self._pieces = list(pieces)
        self._seconds = seconds
        self._cut = cut

    async def readany(self) -> bytes:
        """The next piece."""
        await asyncio.sleep(self._seconds)
        if self._pieces:
            return self._pieces.pop(0)
        if self._cut:
            raise ConnectionResetError
        return b""


def imported(
    carrier: MemoryCarrier, body: Pieces, failed: Callable[[Exception], None] = lambda error: None
) -> Imported:
    """What comes of an import."""
    return run(lambda _: Import(carrier, max_body=MAX_BODY, failed=failed).run(body))


def targets(carrier: MemoryCarrier) -> list[str]:
    """What was stored."""
    return [one.message.target for one in carrier.carried]


def test_line_that_is_too_long_is_refused_and_the_others_imported() -> None:
    """It is skipped to its end, without being held in memory."""
    carrier = MemoryCarrier()
    piece = b"x" * 100_000
    long = [piece] * (most_line_bytes(MAX_BODY) // len(piece) + 1)
    answer = imported(carrier, Pieces(line("a"), *long, b"\n" + line("b"), b"{}"))
    assert targets(carrier) == ["/a", "/b"]
    assert answer.stopped_at is None
    assert [one.line for one in answer.refused] == [2, 4]


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        (Pieces(line("a") + line("b") + b'{"dest', cut=True), "body_invalid"),
        (Pieces(line("a"), line("b"), b"{", seconds=31), "body_timeout"),
        (Pieces(line("a") + line("b"), *[b" "] * 100, seconds=20), "body_timeout"),
    ],
)
def test_body_that_stops_says_what_was_stored(body: Pieces, slug: str) -> None:
    """Also one that drips: another import would wait for its end for days."""
    carrier = MemoryCarrier()
    answer = imported(carrier, body)
    assert answer.error == slug
    assert answer.imported == len(carrier.carried)
    assert answer.stopped_at == len(carrier.carried) + 1


def test_line_on_which_the_server_fails_is_refused_and_the_others_imported() -> None:
    """What was stored before is told, and the failure is an event, once."""

    class Failing(MemoryCarrier):
        async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
            if message.target.startswith("/bad"):
                raise RuntimeError("a mistake")
            return await super().take(message, body, death)

    carrier = Failing()
    failures: list[Exception] = []
    body = Pieces(line("a") + line("bad") + line("b") + line("bad"))
    answer = imported(carrier, body, failures.append)
    assert targets(carrier) == ["/a", "/b"]
    assert [one.line for one in answer.refused] == [2, 4]
    assert (answer.imported, answer.stopped_at, len(failures)) == (2, None, 1)


def test_lines_after_a_refused_one_are_not_stored() -> None:
    """Letters and messages go into two logs, large bodies are stored for long: what is refused of
    one says nothing of another."""

    class Full(MemoryCarrier):
        async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
            if death is not None or len(body) > 1:
                await asyncio.sleep(1)
                raise Refused(DISK_FULL)
            return await super().take(message, body, death)

    large = "A" * (CHUNK_BYTES * 2)
    for odd in (line("b", state="dead"), line("b", body=large)):
        carrier = Full()
        answer = imported(carrier, Pieces(line("a") + odd + line("c") * 100))
        assert targets(carrier) == ["/a"]
        assert (answer.imported, answer.stopped_at, answer.error) == (1, 2, "disk_full")


def test_large_line_is_stored_before_the_next_one_is_read() -> None:
    """Its body does not wait in memory for what the caller sends next."""
    carrier = MemoryCarrier()
    stored: list[int] = []

    class Watched(Pieces):
        async def readany(self) -> bytes:
            stored.append(len(carrier.carried))
            return await super().readany()

    body = base64.b64encode(b"b" * (CHUNK_BYTES + 1)).decode()
    imported(carrier, Watched(line("large", body=body), line("next")))
    assert stored[1] == 1


def test_bad_lines_let_others_have_their_turn() -> None:
    """A portion of what arrives holds tens of thousands of them."""

    async def test(_: object) -> int:
        body = Pieces(b"{}\n" * 10_000)
        with others(every_s=0.0005) as seen:
            answer = await Import(MemoryCarrier(), max_body=0, failed=lambda error: None).run(body)
        assert answer.refused_count == 10_000
        return seen.turns

    assert run(test) > 20


def test_lines_are_numbered_also_where_they_are_empty() -> None:
    """The last one needs no line end."""

    async def test(_: object) -> list[tuple[int, bytes]]:
        lines = read_lines(Pieces(b"a\n", b"\nb", b"c\nd"), 2)
        return [(number, bytes(line or b"")) async for number, line in lines]

    assert run(test) == [(1, b"a"), (2, b""), (3, b"bc"), (4, b"d")]


def test_what_is_there_already_is_counted_and_a_conflict_is_a_line() -> None:
    """Neither keeps the lines behind it."""

    class Known(MemoryCarrier):
        async def take(self, message: Message, body: Sequence[bytes], death: Death | None) -> bool:
            if message.target == "/conflict":
                raise Refused(IDEMPOTENCY_CONFLICT)
            return message.target != "/known" and await super().take(message, body, death)

    carrier = Known()
    answer = imported(carrier, Pieces(line("known") + line("conflict") + line("a")))
    assert targets(carrier) == ["/a"]
    assert (answer.imported, answer.duplicates, answer.stopped_at) == (1, 1, None)
    assert [one.line for one in answer.refused] == [2]

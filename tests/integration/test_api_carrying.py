"""Export and import over the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from dispatcher.api.carrying import MOST_EXPORTS, NDJSON
from dispatcher.queue.admin.surface import Carried, InMemory, LetterFilter, Unreadable
from dispatcher.testing.api import ApiBench
from dispatcher.testing.loop import others
from dispatcher.testing.queue import message


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


async def test_exports_under_way_are_few(api: ApiBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads everything there is; when one ends there is a place again."""
    go_on = asyncio.Event()
    begun = asyncio.Semaphore(0)

    async def slowly(which: LetterFilter) -> AsyncIterator[Carried]:
        begun.release()
        await go_on.wait()
        yield Carried(message(), InMemory(b"hello"), None)

    monkeypatch.setattr(api.carrier, "dead", slowly)
    path = "/v1/export?state=dead"
    under_way = [asyncio.create_task(api.ask(path)) for _ in range(MOST_EXPORTS)]
    for _ in under_way:
        await begun.acquire()
    assert await api.error(path) == (503, "api_busy")
    go_on.set()
    for status, _, text in await asyncio.gather(*under_way):
        assert (status, text.count("\n")) == (200, 1)
    assert (await api.ask(path))[0] == 200


async def test_others_have_their_turn_during_an_export(api: ApiBench) -> None:
    """Some hundred lines are not made in one turn, however fast they are read."""
    api.carrier.carried += [Carried(message(), InMemory(b"hello"), None)] * 320
    with others(every_s=0.001) as seen:
        _, _, text = await api.ask("/v1/export")
    assert text.count("\n") == 320
    assert seen.turns >= 20


async def test_message_that_could_not_be_read_is_a_line_that_is_refused(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever exports finds it by its id, whoever imports is told why it is left out."""

    async def damaged(which: LetterFilter) -> AsyncIterator[Unreadable]:
        yield Unreadable(b"0" * 28, "http://a.example", is_dead=True)

    monkeypatch.setattr(api.carrier, "dead", damaged)
    _, _, text = await api.ask("/v1/export?state=dead")
    assert json.loads(text)["id"] == "0" * 28
    headers = {"Content-Type": NDJSON}
    _, _, answer = await api.ask("/v1/import", "POST", headers, body=text.encode())
    (refused,) = json.loads(answer)["refused"]
    assert "could not be read" in refused["message"]

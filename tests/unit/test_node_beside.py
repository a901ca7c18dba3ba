"""The desk beside partition 0: nothing of it stays when that is lost."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from dispatcher.node.beside import DeskBeside
from dispatcher.node.desk import Desk


class SlowDesk:
    """A desk whose API takes its time to listen."""

    def __init__(self) -> None:
        self.may_listen = asyncio.Event()
        self.listens = False

    async def start(self) -> None:
        """It has begun."""

    async def listen(self) -> None:
        await self.may_listen.wait()
        self.listens = True

    async def leave(self) -> None:
        self.listens = False

    async def stop(self) -> None:
        """It has ended."""

    def abandon(self) -> None:
        """It has let go."""


@pytest.mark.parametrize("is_lost", [False, True])
async def test_desk_that_is_over_before_its_api_listens_leaves_none(is_lost: bool) -> None:
    """Nor is it told to be here: operators would be answered by what is another node's."""
    desk, here = SlowDesk(), list[object]()
    beside = DeskBeside(cast(Desk, desk), here.append)
    starting = asyncio.ensure_future(beside.start())
    await asyncio.sleep(0)
    if is_lost:
        beside.abandon()
        await beside.stop()
    desk.may_listen.set()
    await starting
    assert desk.listens is not is_lost
    assert [one for one in here if one is not None] == ([] if is_lost else [desk])

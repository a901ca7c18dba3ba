"""Models of the API, which are built after the start and not by whoever asks first."""

from __future__ import annotations

import asyncio

from dispatcher.api.building import build, models_of
from dispatcher.api.event_models import EVENTS
from dispatcher.api.message_models import Message, Messages
from dispatcher.api.models import Output
from dispatcher.api.stats_models import Lane, Stats
from dispatcher.queue.admin.pace import Pace
from dispatcher.testing.api import ApiBench


async def test_all_models_are_built_soon_after_the_start() -> None:
    """Nobody has asked for anything yet."""
    async with ApiBench() as api:
        models = models_of(api.server._routes)
        assert {Stats, Messages, *EVENTS.values()} <= set(models)
        assert api.server._building is not None
        async with asyncio.timeout(60):
            await asyncio.shield(api.server._building)
        assert all(model.__pydantic_complete__ for model in models)


async def test_what_others_are_made_of_is_built_first() -> None:
    """Each takes the loop for its own part only, and there is a rest behind it."""
    async with ApiBench() as api:
        models = models_of(api.server._routes)
    assert models.index(Lane) < models.index(Stats)
    assert models.index(Message) < models.index(Messages)
    assert len(models) == len(set(models))


async def test_each_is_followed_by_a_rest() -> None:
    """And one that is built already by none."""

    class One(Output):
        """A model."""

    class Two(Output):
        """Another."""

        one: One

    rests: list[bool] = []

    class Counting(Pace):
        async def rest(self, *, part: float = 1.0) -> None:
            rests.append(Two.__pydantic_complete__)

    await build([One, Two], Counting())
    await build([One, Two], Counting())
    assert rests == [False, True]


async def test_stop_ends_the_building() -> None:
    """It may come right after the start."""
    async with ApiBench() as api:
        await api.server.stop()
        assert api.server._building is not None
        assert api.server._building.done()

"""Building the models of the API, while nobody asks for anything yet.

A model is built when it is first used (`models.DEFERRED`), which takes the loop some milliseconds
where it is made of many others: every message would wait for that. To build all of them before the
server listens would take a tenth of its start. So they are built right after it, one by one and
those first that others are made of, with rests between them like those of any reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel

from dispatcher.api.event_models import EVENTS
from dispatcher.api.routes import AnyRoute
from dispatcher.queue.admin.pace import Pace


def models_of(routes: Iterable[AnyRoute]) -> list[type[BaseModel]]:
    """All models of some routes and of events, each once, behind those that it is made of."""
    found: dict[type[BaseModel], None] = {}
    for route in routes:
        shapes = [route.place, route.query, route.body, route.answer]
        for model in [*shapes, *(also for also, _ in route.also.values())]:
            if model is not None:
                _add(model, found)
    for model in EVENTS.values():
        _add(model, found)
    return list(found)


async def build(models: Iterable[type[BaseModel]], pace: Pace) -> None:
    """Build those that are not yet."""
    for model in models:
        if not model.__pydantic_complete__:
            model.model_rebuild()
            await pace.rest()


def _add(model: type[BaseModel], found: dict[type[BaseModel], None]) -> None:
    if model in found:
        return
    for field in model.model_fields.values():
        for part in _models_in(field.annotation):
            if part is not model:
                _add(part, found)
    found[model] = None


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of: `list[Message] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)

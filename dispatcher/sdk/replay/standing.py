"""Where the tasks of a body stand, for messages: each with its line, and what it waits for."""

from __future__ import annotations

from types import CodeType, FrameType

from dispatcher.sdk.replay import where
from dispatcher.sdk.replay.contradictions import named
from dispatcher.sdk.replay.issuing import Issuing
from dispatcher.sdk.replay.population import Population
from dispatcher.sdk.replay.tasks import AnyTask, Place

SHOWN = 5
"""How many tasks a message names."""


def standing(population: Population, issuing: Issuing) -> list[str]:
    """A line for each task: "the body waits at app.py:44 in pipeline for transform"."""
    tasks = population.tasks()
    more = [f"and {len(tasks) - SHOWN} tasks more"] if len(tasks) > SHOWN else []
    return [_line(task, population, issuing) for task in tasks[:SHOWN]] + more


def running_at(
    population: Population, place: Place | None, frame: FrameType, *, end: CodeType
) -> where.Spot | None:
    """The user's line that runs at `frame`, up to the frame that runs `end`. Where a library runs a
    task of its own, it is the line where the task that made it waits."""
    found = where.spot(frame, end)
    while found is None and place is not None and (place := place.above) is not None:
        above = population.task_at(place)
        found = where.standing(above.get_coro()) if above is not None else None
    return found


def _line(task: AnyTask, population: Population, issuing: Issuing) -> str:
    place = population.place_of(task)
    waiting = issuing.waiting(place.path)
    at = where.standing(task.get_coro())
    line = f"{place.shown} waits"
    if at is not None:
        line += f" at {at.site} in {at.function}"
    elif waiting:
        line += f" at {waiting[0].site}"
    if waiting:
        line += f" for {named(waiting[0])}"
    return line + (f" and {len(waiting) - 1} more" if len(waiting) > 1 else "")

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
    return found if found is not None or place is None else _above(population, place)


def waiting_at(population: Population, place: Place) -> where.Spot | None:
    """The user's line where the task at `place` waits, or the one that made it, in a library."""
    task = population.task_at(place)
    found = where.standing(task.get_coro()) if task is not None else None
    return found if found is not None else _above(population, place)


def _above(population: Population, place: Place) -> where.Spot | None:
    """The line where the task waits that made the one at `place`, or the task that made that."""
    found: where.Spot | None = None
    above = place.above
    while found is None and above is not None:
        task = population.task_at(above)
        found = where.standing(task.get_coro()) if task is not None else None
        above = above.above
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
    elif (at := _above(population, place)) is not None:
        library = where.library_of(task.get_coro())
        line += f" in {library}, called at {at.site} in {at.function}"
    if waiting:
        line += f" for {named(waiting[0])}"
    return line + (f" and {len(waiting) - 1} more" if len(waiting) > 1 else "")

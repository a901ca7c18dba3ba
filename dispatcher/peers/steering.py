"""A course (`queue.admin.course`) whose work is done by another process: its rate and its end go
there, what was done comes back. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dispatcher.core.rate import Rate
from dispatcher.queue.admin.surface import Course


def written_course(course: Course | None) -> dict[str, Any]:
    """What the other process has to know of a course, each time that it is asked how far it is."""
    if course is None:
        return {}
    rate = course.rate
    written = None if rate is None else [rate.count, rate.period_us, rate.burst]
    return {"rate": written, "cancelled": course.is_cancelled}


def read_rate(written: Any) -> Rate | None:
    """A rate that was written.

    Raises:
        ValueError: it is none.
    """
    return None if written is None else Rate(*map(int, written))


def written_progress(course: Course | None) -> dict[str, Any]:
    """How far a course is."""
    if course is None:
        return {}
    return {
        "done": course.done,
        "missed": course.missed,
        "total": course.total,
        "cut": course.was_cut,
    }


class Follower:
    """Lets a course go as far as that of another process says."""

    def __init__(self, course: Course | None) -> None:
        """What it counted before stays."""
        self._course = course
        self._before = 0 if course is None else course.done + course.missed
        self._done = self._missed = 0

    def follow(self, said: Mapping[str, Any]) -> None:
        """As an answer says."""
        course = self._course
        if course is None or "done" not in said:
            return
        done, missed = int(said["done"]), int(said["missed"])
        if said.get("total") is not None:
            course.total = self._before + int(said["total"])
        if (done, missed) != (self._done, self._missed):
            course.did(done - self._done, missed=missed - self._missed)
            self._done, self._missed = done, missed
        if said.get("cut"):
            course.cut()

"""Doing something to many dead letters or waiting messages: a job of the server does it, and is
followed.

What is done has left the list, so repeating a command that was broken off goes on where it stopped.
One that cannot be done stays in the list: it is passed over, and named at the end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dispatcher.cli import following
from dispatcher.cli.client import Api, Json
from dispatcher.cli.following import Sleep, Told
from dispatcher.cli.selection import Ids, Matching, Selection

MOST_IDS: Final = 10_000
"""Ids that the API takes at once."""


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done to many: the last part of the path, and the field that counts them.

    `path` is where they are, `group` the command's, and `noun` what one of them is called.
    `others` are fields that count what was found and left, each with what is said of it. `busy` is
    said of ids with which it could not be done, and which are there still. `more` is what has to be
    said besides the selection.
    """

    name: str
    done: str
    path: str = "/v1/dead-letters"
    group: str = "dead"
    noun: str = "dead letter"
    is_for_good: bool = False
    others: tuple[tuple[str, str], ...] = ()
    busy: str = "somebody else is redriving or purging it"
    more: tuple[tuple[str, str], ...] = ()

    @property
    def word(self) -> str:
        """What was done, as people say it."""
        return self.done.replace("_", "-")

    def asked(self, selector: Json) -> Json:
        """What the API is asked for."""
        return {**selector, **dict(self.more)}


_WAITING: Final = "/v1/messages"
_IN_FLIGHT: Final = ("in_flight", "in flight, and left alone")
_DUE: Final = (
    "due before: `dispatcher explain ID` says what one waits for, "
    "`dispatcher destinations retry` tries its destination"
)
REDRIVE: Final = Verb("redrive", "redriven")
PURGE: Final = Verb("purge", "purged", is_for_good=True)
CANCEL: Final = Verb(
    *("cancel", "cancelled", _WAITING, "messages", "message"),
    is_for_good=True,
    others=(_IN_FLIGHT,),
    busy="somebody else is changing it",
)
DEAD_LETTER: Final = Verb(
    *("dead-letter", "dead_lettered", _WAITING, "messages", "message"),
    others=(_IN_FLIGHT,),
    busy="somebody else is changing it",
)
REDIRECT: Final = Verb(
    *("redirect", "redirected", _WAITING, "messages", "message"),
    others=(_IN_FLIGHT,),
    busy="somebody else is changing it",
)
RETRY: Final = Verb(
    *("retry", "retried", _WAITING, "messages", "message"),
    others=(("due", _DUE), _IN_FLIGHT),
    busy="somebody else is changing it",
)


@dataclass(slots=True)
class Progress:
    """How far it is. `not_found` are ids of which there is none, as far as they were named; `left`
    are those with which it could not be done, each with the reason. `others` counts what
    `Verb.others` names."""

    count: int = 0
    others: dict[str, int] = field(default_factory=dict)
    not_found: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def count(api: Api, verb: Verb, selection: Selection, told: Told) -> Progress:
    """Ask how many there are, and change nothing. Where that takes long it is a job too."""
    progress = Progress()
    for selector in _selectors(selection):
        asked = {**verb.asked(selector), "dry_run": True}
        _add(progress, verb, following.run(api, _path(verb), asked, told))
    return progress


def run(
    api: Api,
    verb: Verb,
    selection: Selection,
    *,
    progress: Progress,
    told: Told,
    rate: int | str | None = None,
    sleep: Sleep = time.sleep,
) -> None:
    """Do it, in one job; in one after the other where there are very many ids.

    Args:
        api: whom to ask.
        verb: what to do.
        selection: to which.
        progress: counts what is done.
        told: told how far the job is.
        rate: dead letters at most, as the API takes it.
        sleep: waits for seconds.

    Raises:
        CommandError: the API cannot be asked, or it could not be done to all.
    """
    pace: Json = {} if rate is None else {"rate": rate}
    for selector in _selectors(selection):
        answer = following.run(
            api, _path(verb), {**verb.asked(selector), **pace}, told, sleep=sleep
        )
        _note(api, verb, answer, progress)


def _selectors(selection: Selection) -> Iterator[Json]:
    match selection:
        case Matching():
            yield selection.selector()
        case Ids():
            for start in range(0, len(selection.ids), MOST_IDS):
                yield {"ids": list(selection.ids[start : start + MOST_IDS])}


def _note(api: Api, verb: Verb, answer: Json, progress: Progress) -> None:
    """Count what came of it, and name what could not be done."""
    missing = answer["not_found"]
    if missing:
        # Somebody else may be dealing with some of these: they are still there, and stay.
        asked = verb.asked({"ids": missing, "dry_run": True})
        gone = api.post(_path(verb), asked)["not_found"]
        answer = {**answer, "not_found": gone}
        for message_id in set(missing) - set(gone):
            progress.left[message_id] = verb.busy
    for message_id in answer.get("failed", ()):
        progress.left[message_id] = (
            "it cannot be read; `dispatcher log verify` says what is damaged"
        )
    for call_id in answer.get("unserved", ()):
        progress.left[call_id] = "it is a function call, and the server has no function service"
    _add(progress, verb, answer)


def _path(verb: Verb) -> str:
    return f"{verb.path}/{verb.name}"


def _add(progress: Progress, verb: Verb, answer: Json) -> None:
    progress.count += answer[verb.done]
    for name, _ in verb.others:
        progress.others[name] = progress.others.get(name, 0) + answer[name]
    progress.not_found.extend(answer["not_found"])

"""Redriving and purging many dead letters: page by page, so it can be stopped and repeated.

One call for a million of them would show nothing for minutes and leave behind nobody knows what
when it is interrupted. Each batch is durable when its answer is there; what is done has left the
list, so repeating the command goes on where it stopped. One that cannot be done stays in the list:
it is passed over, and named at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import CommandError
from dispatcher.cli.selection import Ids, Matching, Selection

BATCH: Final = 1000
"""The largest page the API gives."""

Sleep = Callable[[float], None]
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Verb:
    """What is done to dead letters: the last part of the path, and the field that counts them."""

    name: str
    done: str


REDRIVE: Final = Verb("redrive", "redriven")
PURGE: Final = Verb("purge", "purged")


@dataclass(slots=True)
class Progress:
    """How far it is. `not_found` are ids that are no dead letters, as far as they were named;
    `left` are dead letters with which it could not be done, each with the reason."""

    count: int = 0
    not_found: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def count(api: Api, verb: Verb, selection: Selection) -> Progress:
    """Ask how many there are, and change nothing."""
    progress = Progress()
    for selector in _selectors(selection):
        _add(progress, verb, api.post(_path(verb), {**selector, "dry_run": True}))
    return progress


def run(
    api: Api,
    verb: Verb,
    selection: Selection,
    *,
    expected: int,
    progress: Progress,
    advance: Callable[[int], None],
    rate: int | None = None,
    clock: Clock = time.monotonic,
    sleep: Sleep = time.sleep,
) -> None:
    """Do it, in batches.

    Args:
        api: whom to ask.
        verb: what to do.
        selection: to which.
        expected: how many there were; no more are touched, as what dies meanwhile comes last.
        progress: counts what is done; right also when this is interrupted.
        advance: told of every batch, how many.
        rate: dead letters a second at most; the server spreads each batch, this the batches.
        clock: in seconds.
        sleep: waits for seconds.

    Raises:
        CommandError: the API cannot be asked, or does nothing for now; what was done before is
            done.
    """
    started_s = clock()
    asked = 0
    for ids in _batches(api, selection, expected, min(BATCH, rate or BATCH)):
        if rate is not None:
            sleep(max(0.0, started_s + asked / rate - clock()))
        pace: Json = {} if rate is None else {"rate": rate}
        before = progress.count
        _do(api, verb, ids, pace, progress)
        asked += len(ids)
        advance(progress.count - before)


def _batches(api: Api, selection: Selection, expected: int, size: int) -> Iterator[Sequence[str]]:
    if isinstance(selection, Ids):
        yield from _sliced(selection.ids, size)
        return
    left = expected
    cursor: str | None = None
    while left > 0:
        query = {**selection.filters.given(), "limit": min(BATCH, left), "cursor": cursor}
        page = api.get("/v1/dead-letters", query)
        listed = [item["id"] for item in page["items"]]
        yield from _sliced(listed, size)
        left -= len(listed)
        # Not the first page again: what could not be done is still there.
        cursor = page["next"]
        if cursor is None:
            return


def _sliced(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _selectors(selection: Selection) -> Iterator[Json]:
    match selection:
        case Matching():
            yield selection.selector()
        case Ids():
            for ids in _sliced(selection.ids, BATCH):
                yield {"ids": list(ids)}


def _do(api: Api, verb: Verb, ids: Sequence[str], pace: Json, progress: Progress) -> None:
    """Do it to one batch; when the API fails over it, to each of them, as one may be to blame."""
    try:
        answer = api.post(_path(verb), {"ids": list(ids), **pace})
    except CommandError as error:
        # Every kind but this one says that others would fare no better.
        if type(error) is not CommandError:
            raise
        if len(ids) == 1:
            progress.left[ids[0]] = str(error)
            return
        for message_id in ids:
            _do(api, verb, [message_id], {}, progress)
        return
    missing = answer["not_found"]
    if missing:
        # Somebody else may be dealing with some of these: they are still there, and stay.
        gone = api.post(_path(verb), {"ids": missing, "dry_run": True})["not_found"]
        answer = {**answer, "not_found": gone}
        for message_id in set(missing) - set(gone):
            progress.left[message_id] = "somebody else is redriving or purging it"
    for message_id in answer.get("failed", ()):
        progress.left[message_id] = (
            "it cannot be read; `dispatcher log verify` says what is damaged"
        )
    for call_id in answer.get("unserved", ()):
        progress.left[call_id] = "it is a function call, and the server has no function service"
    _add(progress, verb, answer)


def _path(verb: Verb) -> str:
    return f"/v1/dead-letters/{verb.name}"


def _add(progress: Progress, verb: Verb, answer: Json) -> None:
    progress.count += answer[verb.done]
    progress.not_found.extend(answer["not_found"])

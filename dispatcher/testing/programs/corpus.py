"""Activations on record, to be replayed by other interpreters: `python -m … FILE`.

A corpus is JSON in gzip: a list of calls, each with its program, its id and its activations. One of
these has the state before it, in hexadecimal, the events, the time, and what came of it: the state
after it, and a digest of the answer. Who replays it needs what `dispatcher.sdk` needs, no more.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from dispatcher.sdk.replay.journal import decode
from dispatcher.sdk.replay.model import (
    Cancelled,
    Ended,
    Event,
    Failure,
    PollRefused,
    Result,
    Told,
    Value,
)
from dispatcher.testing.programs.node import from_json
from dispatcher.testing.programs.player import Answer, Player, Wrong
from dispatcher.testing.programs.server import START_US, Activation, Life

Entry: TypeAlias = "dict[str, object]"


def write(path: Path, lives: Iterable[Life]) -> None:
    """Write the same bytes for the same lives."""
    text = json.dumps([_recorded(life) for life in lives], separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def differences(path: Path) -> Iterator[str]:
    """Replay every activation of a corpus, and yield a line for each that comes out otherwise."""
    for call in json.loads(gzip.decompress(path.read_bytes())):
        for number, entry in enumerate(call["activations"]):
            try:
                now = _replayed(call, entry)
            except Wrong as wrong:
                now = ["wrong", str(wrong)]
            if now != _expected(entry):
                yield f"{call['id']}, activation {number}: {call['program']}: {now}"


def _recorded(life: Life) -> Entry:
    return {
        "id": life.told.id,
        "program": life.node.to_json(),
        "activations": [_activation(one) for one in life.past],
    }


def _activation(one: Activation) -> Entry:
    request = one.request
    return {
        "before": None if request.state is None else request.state.hex(),
        "now_us": request.now_us,
        "events": [_event(event) for event in request.events],
        "after": _after(one.reply.answer, one.reply.state),
    }


def _replayed(call: dict[str, object], entry: dict[str, object]) -> Sequence[object]:
    state = entry["before"]
    told = Told(str(call["id"]), "program", root_id=str(call["id"]), created_us=START_US)
    before = bytes.fromhex(state) if isinstance(state, str) else None
    player = Player(from_json(call["program"]), told, before)
    events, now_us = entry["events"], entry["now_us"]
    assert isinstance(events, list)
    assert isinstance(now_us, int)
    try:
        answer = player.advance([_event_of(event) for event in events], now_us)
        return _without_version(_after(answer, player.run.state()))
    finally:
        player.run.close()


def _expected(entry: dict[str, object]) -> Sequence[object]:
    after = entry["after"]
    assert isinstance(after, list)
    return _without_version(after)


def _without_version(after: Sequence[str]) -> Sequence[object]:
    """What came of it, but which Python recorded it, which the nonce depends on."""
    state, digest = after
    return [dataclasses.replace(decode(bytes.fromhex(state)), python=0, nonce=1), digest]


def _after(answer: Answer, state: bytes) -> list[str]:
    shown = repr((sorted(answer.calls.items()), sorted(answer.cancelled), answer.wake_us))
    rest = repr((answer.outstanding, answer.missing, answer.is_flush, answer.end, answer.seen))
    return [state.hex(), hashlib.sha256((shown + rest).encode()).hexdigest()[:16]]


def _event(event: Event) -> list[object]:
    match event:
        case Ended(id, result, dispatch_id):
            return ["ended", id, _result(result), dispatch_id]
        case Cancelled(reason):
            return ["cancelled", reason]
        case PollRefused(failure):
            return ["refused", _result(failure)]


def _result(result: Result) -> list[str]:
    if isinstance(result, Failure):
        return [result.type, result.message, result.value.hex(), result.traceback.hex()]
    return [result.type, result.data.hex()]


def _event_of(event: list[object]) -> Event:
    match event:
        case ["ended", int(id), result, str(dispatch_id)]:
            return Ended(id, _result_of(result), dispatch_id)
        case ["cancelled", str(reason)]:
            return Cancelled(reason)
        case ["refused", result]:
            failure = _result_of(result)
            assert isinstance(failure, Failure)
            return PollRefused(failure)
    raise ValueError(f"no event: {event}")


def _result_of(result: object) -> Result:
    match result:
        case [str(type), str(message), str(value), str(traceback)]:
            return Failure(type, message, bytes.fromhex(value), bytes.fromhex(traceback))
        case [str(type), str(data)]:
            return Value(type, bytes.fromhex(data))
    raise ValueError(f"no result: {result}")


if __name__ == "__main__":
    # That nobody has retrieved a task's error is logged once that task is collected, and when that
    # is differs between versions.
    logging.getLogger("dispatcher.sdk").addHandler(logging.NullHandler())
    found = list(differences(Path(sys.argv[1])))
    sys.exit("\n".join(found) or None)

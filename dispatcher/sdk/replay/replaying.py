"""Replay: a body that has just begun is told, in their order, all the events on its record.

It fits if it waits for each of them when it comes, and has come by every operation on record after
the last one. Then it stands where it stood when the record was made.
"""

from __future__ import annotations

from dispatcher.sdk.replay import contradictions
from dispatcher.sdk.replay.body import Body
from dispatcher.sdk.replay.model import Cancelled, Contradicted
from dispatcher.sdk.replay.record import Record
from dispatcher.sdk.replay.results import Kept, Recorded
from dispatcher.sdk.replay.timers import deadline_ms


def replay(body: Body, record: Record) -> None:
    """Deliver each event by itself. Where the body does not fit, the loop has the fault."""
    loop, issuing = body.loop, body.issuing
    for id, ms, result in record.replay():
        if loop.fault is not None:
            return
        loop.timers.now_ms += ms
        issuing.events += 1
        if not _deliver(body, record, id, result):
            loop.fault = _contradicted(body, record, id, result)
            return
        loop.run()
    missing = record.first_unreached()
    if loop.fault is None and missing is not None:
        loop.fault = _contradicted(body, record, missing)


def _deliver(body: Body, record: Record, id: int, result: Recorded) -> bool:
    """Deliver an event; False if the body does not wait for it."""
    if body.is_done:
        return False
    if isinstance(result, Cancelled):
        body.cancel(result)
        return True
    name = record.timer(id)
    if name is not None:
        return _ring(body, *name)
    if not body.issuing.waits(id):
        return False
    assert not isinstance(result, Kept)
    body.end(id, result)
    return True


def _ring(body: Body, path: str, index: int) -> bool:
    timers = body.loop.timers
    timer = timers.find(path, index)
    # One that is set for later is another timer, of code that was edited: what it waits for is late
    # only once it is.
    if timer is None or deadline_ms(timer.when()) > timers.now_ms:
        return False
    body.loop.ring(timer)
    return True


def _contradicted(body: Body, record: Record, id: int, result: Recorded = None) -> Contradicted:
    told, now = body.loop.told, body.stands()
    if isinstance(result, Cancelled):
        return Contradicted(contradictions.ended_before(told, record, result.reason, now=now))
    if (timer := record.timer(id)) is not None:
        return Contradicted(contradictions.other_timer(told, record, timer[0], now=now))
    return Contradicted(contradictions.never_reached(told, record, record.entry(id), now=now))

"""What has happened since the last outcome: recorded, and delivered to the body, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dispatcher.sdk.replay.body import Body
from dispatcher.sdk.replay.model import Cancelled, Ended, Event, Failure, Kind, Result
from dispatcher.sdk.replay.results import Kept, Recorded
from dispatcher.sdk.replay.timers import Timer


def deliver(body: Body, events: Sequence[Event], now_ms: int) -> None:
    """Deliver the events, and then the timers that are due; the body runs to where it waits
    everywhere between any two. `now_ms` counts from its beginning. What it does not wait for, or
    not any more, is dropped, and not recorded."""
    for event in events:
        for id, result, recorded in list(_parts(body, event)):
            if body.is_over:
                return
            if body.issuing.waits(id):
                _record(body, id, now_ms, recorded)
                body.end(id, result)
                body.loop.run()
        if isinstance(event, Cancelled) and not (body.is_over or body.is_cancelled):
            _record(body, 0, now_ms, event)
            body.cancel(event)
            body.loop.run()
    while not body.is_over and _ring_next(body, now_ms):
        body.loop.run()


def _parts(body: Body, event: Event) -> Iterator[tuple[int, Result, Recorded]]:
    """The operations that an event ends, each with its result, and with what is recorded of it."""
    if isinstance(event, Ended):
        if not body.issuing.is_sleep(event.id):  # nobody else ends a sleep
            recorded = Kept(event.dispatch_id) if event.is_kept else event.result
            yield event.id, event.result, recorded
    elif not isinstance(event, Cancelled):
        yield from _refused(body, event.failure)


def _refused(body: Body, failure: Failure) -> Iterator[tuple[int, Result, Recorded]]:
    writer = body.issuing.writer
    for id, issued in body.issuing.open.items():
        if writer.refusable <= id < writer.untold and issued.operation.kind is Kind.CALL:
            yield id, failure, failure


def _ring_next(body: Body, now_ms: int) -> bool:
    """End the earliest of the timers and sleeps, if it is due. It has ended at its deadline, or at
    the last event if that was later: else every sleep after it would be late, too."""
    timers = body.loop.timers
    at_ms = timers.next_ms()
    if at_ms is None or at_ms > now_ms:
        return False
    due = timers.next_due()
    if isinstance(due, Timer):
        _record(body, body.issuing.writer.timer(due.path, due.index), at_ms, None)
        body.loop.ring(due)
    elif body.issuing.waits(due):
        _record(body, due, at_ms, None)
        body.end(due, None)
    else:
        timers.drop(due)
    return True


def _record(body: Body, id: int, at_ms: int, recorded: Recorded) -> None:
    timers = body.loop.timers
    timers.now_ms = max(timers.now_ms, at_ms)
    body.issuing.events += 1
    body.issuing.writer.event(id, timers.now_ms, recorded)

"""What a reader of the logs understands of them, written without the queue's own recovery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.kinds import Kind
from dispatcher.queue.records.letters import DeadLetter, decode_dead
from dispatcher.queue.records.messages import decode_stored
from dispatcher.queue.records.paused import decode_paused
from dispatcher.queue.records.removed import decode_removals
from dispatcher.queue.records.retry import retry_facts
from dispatcher.queue.records.settled import decode_settled

Records = Iterable[tuple[int, bytes]]


@dataclass(slots=True)
class Waiting:
    """A message that a start will deliver."""

    id: bytes
    attempts: int
    redrives: int
    destination: Destination


def waiting_in(records: Records) -> dict[bytes, Waiting]:
    """Pending messages by id, as the transaction log has them."""
    found: dict[bytes, Waiting] = {}
    first = -1
    for position, payload in records:
        first = position if first < 0 else first
        match payload[0]:
            case Kind.MESSAGE | Kind.MOVED | Kind.MESSAGE_TERMS | Kind.MOVED_TERMS:
                stored = decode_stored(position, payload, 0)
                found[stored.wire_id] = Waiting(
                    stored.wire_id, stored.attempt, stored.redrives, stored.destination
                )
                if stored.chunks is not None and stored.chunks[0] < first:
                    del found[stored.wire_id]  # trimmed: it was settled or copied
            case Kind.SETTLED | Kind.SETTLED_PACKED | Kind.DELIVERED | Kind.UNDELIVERED:
                incarnation, positions = decode_settled(payload)
                assert incarnation is not None, "nothing writes version 1 any more"
                for position in positions:
                    found.pop(wire_id(0, incarnation, position), None)
            case Kind.RETRY:
                incarnation, id_position, attempts, _ = retry_facts(payload)
                assert incarnation is not None, "nothing writes version 1 any more"
                message_id = wire_id(0, incarnation, id_position)
                if message_id in found:
                    found[message_id].attempts = attempts
    return found


def stored_in(records: Records) -> Iterator[Message]:
    """All messages whose first record is there, whatever became of them."""
    for position, payload in records:
        if payload[0] in (Kind.MESSAGE, Kind.MESSAGE_TERMS):
            yield decode_stored(position, payload, 0)


def copies_in(records: Records) -> Iterator[Message]:
    """All messages of which a record is there, the first or a copy."""
    for position, payload in records:
        if payload[0] in (Kind.MESSAGE, Kind.MOVED, Kind.MESSAGE_TERMS, Kind.MOVED_TERMS):
            yield decode_stored(position, payload, 0)


def paused_in(records: Records) -> set[bytes]:
    """Keys of the destinations that are paused."""
    paused: set[bytes] = set()
    for _, payload in records:
        if payload[0] == Kind.PAUSED:
            paused = set(decode_paused(payload))
    return paused


def letters_in(records: Records) -> dict[bytes, DeadLetter]:
    """Dead letters by id, as the dead-letter log has them."""
    found: dict[bytes, DeadLetter] = {}
    first = -1
    for position, payload in records:
        first = position if first < 0 else first
        if payload[0] in (Kind.DEAD, Kind.DEAD_TERMS, Kind.DEAD_OPERATOR):
            letter = decode_dead(payload)
            chunks = letter.message.chunks
            if chunks is None or min(chunks) >= first:  # else trimmed: it was removed or copied
                found[letter.message.wire_id] = letter
        elif payload[0] in (Kind.REMOVED, Kind.REMOVED_MANY):
            for message_id, redrives in decode_removals(payload):
                if message_id in found and found[message_id].message.redrives <= redrives:
                    del found[message_id]
    return found


def understand(log: Records, dead_log: Records) -> tuple[dict[bytes, Waiting], dict[bytes, int]]:
    """What waits, and dead letters with their redrives, by id: each message in one of the two."""
    letters = {one: letter.message.redrives for one, letter in letters_in(dead_log).items()}
    waiting = waiting_in(log)
    for message_id in letters.keys() & waiting.keys():
        if waiting[message_id].redrives > letters[message_id]:
            del letters[message_id]
        else:
            del waiting[message_id]
    return waiting, letters

"""What a reader of the logs understands of them, written without the queue's own recovery."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dispatcher.queue.records import (
    DeadLetter,
    Kind,
    decode_dead,
    decode_paused,
    decode_removed,
    decode_settled,
    decode_stored,
    retry_facts,
    wire_id,
)

Records = Iterable[tuple[int, bytes]]


@dataclass(slots=True)
class Waiting:
    """A message that a start will deliver."""

    id: bytes
    attempts: int
    redrives: int


def waiting_in(records: Records) -> dict[int, Waiting]:
    """Pending messages by their id position, as the transaction log has them."""
    found: dict[int, Waiting] = {}
    first = -1
    for position, payload in records:
        first = position if first < 0 else first
        match payload[0]:
            case Kind.MESSAGE | Kind.MOVED:
                stored = decode_stored(position, payload, 0)
                found[stored.position] = Waiting(stored.wire_id, stored.attempt, stored.redrives)
                if stored.chunks is not None and stored.chunks[0] < first:
                    del found[stored.position]  # trimmed: it was settled or copied
            case Kind.SETTLED:
                for settled in decode_settled(payload):
                    found.pop(settled, None)
            case Kind.RETRY:
                id_position, attempts, _ = retry_facts(payload)
                if id_position in found:
                    found[id_position].attempts = attempts
    return found


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
    for _, payload in records:
        if payload[0] == Kind.DEAD:
            letter = decode_dead(payload)
            found[letter.message.wire_id] = letter
        elif payload[0] == Kind.REMOVED:
            partition, incarnation, position, redrives = decode_removed(payload)
            message_id = wire_id(partition, incarnation, position)
            if message_id in found and found[message_id].message.redrives <= redrives:
                del found[message_id]
    return found


def understand(log: Records, dead_log: Records) -> tuple[dict[bytes, Waiting], dict[bytes, int]]:
    """What waits, and dead letters with their redrives, by id: each message in one of the two."""
    letters = {one: letter.message.redrives for one, letter in letters_in(dead_log).items()}
    waiting = {one.id: one for one in waiting_in(log).values()}
    for message_id in letters.keys() & waiting.keys():
        if waiting[message_id].redrives > letters[message_id]:
            del letters[message_id]
        else:
            del waiting[message_id]
    return waiting, letters

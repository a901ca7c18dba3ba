"""The kinds of the queue's records: what payloads in the transaction and dead-letter logs mean.

The first byte of a payload is its kind. Integers are little endian; lengths are in bytes; instants
are microseconds since the epoch. Positions are those of the transaction log and opaque here. Each
kind is encoded and decoded in one file of this folder, where its layout stands.

A message is named by the incarnation of the process that accepted it (a number it drew at random)
and the position where it was first stored; together they are unique for ever, also when a log was
begun anew or restored from a copy, while positions alone come again (`ids`).

    kind            file      what is stored                           what it means for a message
    MESSAGE         messages  an accepted request                      it exists
    MOVED           messages  a MESSAGE copied forward, with its state it is here, under its old id
    CHUNK           chunks    a piece of a body too large to hold      dead until one names it
    SETTLED         settled   names of messages that are done          they no longer exist
    SETTLED_PACKED  settled   the same in a form of little space
    DELIVERED       settled   names of messages that were delivered    they no longer exist
    UNDELIVERED     settled   names of messages with an idempotency    they no longer exist
                              key that ended otherwise
    KEYS            keys      idempotency keys whose records are gone  nothing
    RETRY           retry     attempts made, when the next one is due  replaces the RETRY before it
    PAUSED          paused    all destinations an operator paused      the newest counts
    NOTHING         here      proof that there is space again
    MESSAGE_TERMS   terms     a MESSAGE with what its caller asked for it exists
    MOVED_TERMS     messages  the same as MOVED, of a MESSAGE_TERMS  it is here, under its old id
    CALLS           -         what happened to calls of functions      nothing
    CALLS_LARGE     -         the same, with its bytes in CHUNKs       nothing

DELIVERED records are written where the log is kept as history (EVENT_SOURCING). There SETTLED ones
name messages that ended otherwise: dead, cancelled. Where it is not kept, and in logs that versions
before 0.3 wrote, how a message of a SETTLED record ended is not told.

CALLS and CALLS_LARGE are the guest's (`pending.guest`): `functions.store.records` has their layout,
and what they mean is not known here.

In the dead-letter log, which has CHUNK and NOTHING too:

    DEAD            letters   a message that was given up, with its whole history
    REMOVED         removed   a dead letter that was redriven or purged
    REMOVED_MANY    removed   many of them, in a form of little space
    UPTIME          uptime    how long the log has been open, all processes together
    DEAD_CALL       dead_calls  a root call that was given up, with its input
    DEAD_TERMS      letters   the same as DEAD, of a MESSAGE_TERMS
    DEAD_OPERATOR   letters   the same as DEAD, with terms or not, of what an operator gave up

Numbers from 64 on are those of the results' log (`functions.results.records`), which has CHUNK and
NOTHING too. So a number means the same in every log.

What kind of message it is, so whose handler an outcome is for (`Message.kind`), the kind of its
record says: MESSAGE, and MOVED and DEAD, which hold one, are of plain messages, with terms or not.
Another kind of message is stored in kinds of records of its own, and what decodes those sets
`Message.kind`. So a program that does not know it refuses the log, and never takes it for a plain
one.

The forms of little space are for a full disk. SETTLED_V1, RETRY_V1 and DEAD_V1 are what version 0.1
wrote for SETTLED, RETRY and DEAD: the first two name a message by its position alone, in a log
where no two messages had the same, the third does not know the log's uptime.

To change a record: the layout of a kind never changes once it was used, nor does the meaning of its
bytes. A new layout gets a new kind, and old kinds are read for ever:

1. A number at the end of `Kind`, and a line in the table above.
2. Its layout, encode and decode in the file of its subject; decode goes on reading the old kind.
3. What recovery makes of it: `recovery/replay.py`, or `deadletters/store.py`.
4. What a person sees of it: `shown.py`.
5. Its bytes in `tests/unit/test_queue_records.py`, and a golden file of a log that has it
   (`tests/golden/queue_life.py`). Older golden files stay as they are, and so do their tests.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from dispatcher.txlog import RECORD_OVERHEAD_BYTES

OVERHEAD_BYTES: Final = RECORD_OVERHEAD_BYTES
"""What a record costs in a log besides its payload; `Committer` fills batches by it."""


class Kind(IntEnum):
    """First byte of every payload."""

    MESSAGE = 1
    CHUNK = 2
    SETTLED_V1 = 3
    RETRY_V1 = 4
    MOVED = 5
    NOTHING = 6
    DEAD_V1 = 7
    REMOVED = 8
    PAUSED = 9
    SETTLED = 10
    RETRY = 11
    REMOVED_MANY = 12
    SETTLED_PACKED = 13
    DEAD = 14
    UPTIME = 15
    CALLS = 16
    CALLS_LARGE = 17
    DEAD_CALL = 18
    DELIVERED = 19
    MESSAGE_TERMS = 20
    MOVED_TERMS = 21
    DEAD_TERMS = 22
    KEYS = 23
    UNDELIVERED = 24
    DEAD_OPERATOR = 25


NOTHING = bytes([Kind.NOTHING])
"""The whole payload of a record that says nothing; it may be filled up with zeros."""

STATELESS = frozenset({Kind.CHUNK, Kind.NOTHING})
"""Kinds that say nothing by themselves."""

GUESTS = frozenset({Kind.CALLS, Kind.CALLS_LARGE})
"""Kinds that are the guest's of a partition (`pending.guest`)."""

MAX_DETAIL_BYTES: Final = 512
"""What is kept of the text that says why an attempt failed."""


class RecordError(ValueError):
    """A payload is not what its kind says. The log's checksum was right, so a program wrote it
    wrong."""

"""A queue that leads a whole life: what its two logs hold afterwards is kept as golden files.

`python -m tests.golden.queue_life N` writes `queue_vN.json.gz` for the version of the records that
the program writes now, if the file is missing; it is never written again.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from dispatcher.core.flow import parse_flow
from dispatcher.core.options import written
from dispatcher.core.retry import RetryPolicy
from dispatcher.core.terms import Terms
from dispatcher.queue.bodies.readback import read_messages
from dispatcher.queue.partition import Partition
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.letters import DeadLetter
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.deadcalls import call_id, call_letter
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import run
from dispatcher.testing.queue import Bench, destination, failed, message

HERE = Path(__file__).parent
POLICY = RetryPolicy(retry_limit=5, delay_ms=3_600_000, max_delay_ms=86_400_000)


def golden(version: int) -> Path:
    """Where the records of a version are kept."""
    return HERE / f"queue_v{version}.json.gz"


def load(version: int) -> dict[str, Any]:
    """The golden file of a version: `log` and `dead_log` are positions and payloads in hexadecimal,
    `state` is what `state_of` says after they were read."""
    found: dict[str, Any] = json.loads(gzip.decompress(golden(version).read_bytes()))
    return found


def log_of(records: list[list[Any]]) -> FaultyLog:
    """A log with these records."""
    log = FaultyLog()
    log._positions = [position for position, _ in records]
    log._payloads = {position: bytes.fromhex(payload) for position, payload in records}
    log._next = max(log._positions) + 1_000
    return log


def state_of(bench: Bench) -> dict[str, Any]:
    """What a queue that was just opened holds: pending messages (attempts, redrives, chunks), dead
    letters and paused destinations."""
    queue = bench.queue
    letters = queue.dead_letters
    return {
        "pending": queue.pending.index.count,
        "attempts": sorted(
            queue.pending.index.attempts[slot]
            for slot in range(queue.pending.index.slots)
            if queue.pending.index.state[slot]
        ),
        "bodies": sorted(size for _, size in queue.pending.owned.by_slot.values()),
        "letters": sorted(one.decode() for one, _ in letters),
        "paused": sorted(key.decode() for key in queue.pauses.keys),
    }


def keys_of(bench: Bench) -> list[list[Any]]:
    """Idempotency keys that a queue holds: the ids of their messages, and whether they stand for
    something still."""
    keys = bench.queue.keys
    found = []
    for entry in map(keys.entries.read, keys.entries):
        message_id = wire_id(0, entry.incarnation, entry.position).decode()
        found.append([message_id, keys.standing(entry.hashed) is not None])
    return sorted(found)


async def options_of(bench: Bench) -> list[dict[str, str]]:
    """What was asked for with each pending message that has options, and its target."""
    pending = bench.queue.pending
    slots = [slot for slot in range(pending.index.slots) if pending.index.state[slot]]
    messages = await read_messages(bench.log, pending, slots, partition=0)
    assert messages is not None, "nothing moves here"
    found = [{"target": one.target, **written(one.terms)} for one in messages if one.terms]
    return sorted(found, key=lambda one: one["target"])


def _small_extents(queue: Partition) -> None:
    queue.pending.extents.extent_bytes = 2_000


def _terms(now_us: int) -> dict[str, Terms]:
    """Messages by name, and what was asked for with them."""
    return {
        "first": Terms(order_key="customer-7", deadline_us=now_us + 30 * 86_400_000_000),
        "second": Terms(order_key="customer-7", retry_delay_ms=250, retry_max_delay_ms=60_000),
        "flows": Terms(flow_key="tenant-1", flow=parse_flow("rate=10/1m, parallelism=2, burst=3")),
        "told": Terms(callback="http://told.example/ok?n=1"),
        "tells": Terms(
            not_before_us=now_us + 7_200_000_000,
            callback="http://told.example/ok",
            failure_callback="https://told.example/failed",
        ),
    }


async def _live(clock: SimulatedClock) -> Bench:
    """Each kind of record, and each kind of message among those that are left."""
    bench = await Bench(
        clock, policy=POLICY, workers=50, prepare=_small_extents, keep_everything=True
    ).start()

    async def accept(name: str, to: str = "a.example") -> str:
        receipt = bench.accept(message(destination(to), name=name))
        await asyncio.sleep(0.05)
        return receipt.answer.wire_id.decode()  # type: ignore[union-attr]  # it was accepted

    async def accept_delayed(name: str) -> None:
        sent = message(destination(), name=name)
        sent.terms = Terms(not_before_us=clock.now_us() + 3_600_000_000)
        bench.accept(sent)
        await asyncio.sleep(0.05)

    async def end(name: str, result: int | None = None) -> None:
        (one,) = [one for one in bench.deliverer.flying if one.target == f"/{name}"]
        bench.end(one, 200 if result is None else failed(result))
        await asyncio.sleep(0.05)

    for n in range(8):
        bench.accept(message(destination(f"n{n}.example"), name=f"n{n}", body=b"b" * 300))
        await asyncio.sleep(0.05)
    await end("n0")
    await end("n3")
    await end("n4", 503)  # waits for a retry, and is copied with its history
    await bench.queue.space.copy([bench.queue.pending.extents.oldest])
    await end("n5", 503)  # waits for a retry
    for name in ("dead", "purged", "redriven"):
        await accept(name)
        await end(name, 404)
    letters = await bench.queue.dead_letters.read([one for one, _ in bench.queue.dead_letters])
    by_name = {
        letter.message.target[1:]: letter.id.decode()
        for letter in letters
        if isinstance(letter, DeadLetter)
    }
    await bench.queue.admin.purge([by_name["purged"]])
    await bench.queue.admin.redrive([by_name["redriven"]])
    upload = bench.queue.intake.start_upload(lambda: None)
    for part in (b"x" * 700, b"y" * 50):
        upload.write(part)
    large = message(name="large", body=b"")
    large.body_size = 750
    bench.queue.intake.accept(large, bench.receipts.one(), upload)
    await asyncio.sleep(0.05)
    for number, body in ((1, b"input"), (2, b"z" * 300_000), (3, b"purged")):
        bench.queue.dead_letters.bury_call(call_letter(number, body=body), lambda: None)
    await asyncio.sleep(1)
    await bench.queue.admin.purge([call_id(3).decode()])
    for name in ("keyed", "cancelled", "letter"):
        sent = message(destination(f"{name}.example"), name=name)
        sent.accepted_at = clock.now_us()
        sent.terms = Terms(idempotency_key=name, request_print=7, label="golden", retries=3)
        bench.accept(sent)
        await asyncio.sleep(0.05)
        if name == "cancelled":
            await end(name, 503)
            await bench.queue.admin.cancel(sent.wire_id.decode())
        else:
            await end(name, 404 if name == "letter" else None)
    await accept_delayed("delayed")
    await bench.queue.space.copy(list(bench.queue.pending.extents)[-2:])
    for name, terms in _terms(clock.now_us()).items():
        to = "ordered.example" if terms.order_key else f"{name}.example"
        sent = message(destination(to), name=name)
        sent.terms = terms
        bench.accept(sent)
        await asyncio.sleep(0.05)
    await end("first", 503)  # waits for a retry, and `second` behind it
    await end("told")
    await bench.queue.space.copy(list(bench.queue.pending.extents)[-2:])
    await bench.queue.admin.hold("http://paused.example")
    await accept("waits", "paused.example")
    await asyncio.sleep(1)
    await bench.queue.admin.hold("http://redirects.example")
    given_up = await accept("given-up", "redirects.example")
    await bench.queue.admin.give_up(given_up)
    for name, key in (("plain", ""), ("with-key", "stays")):
        sent = message(destination("redirects.example"), name=name)
        sent.terms = Terms(idempotency_key=key) if key else None
        bench.accept(sent)
        await asyncio.sleep(0.05)
        await bench.queue.admin.redirect(sent.wire_id.decode(), f"https://{name}.example")
    await bench.queue.admin.resume("http://redirects.example")
    await bench.crash()
    await bench.start()  # another incarnation
    await asyncio.sleep(0.1)
    await end("n6")
    await end("n7", 503)
    await accept("late")
    await asyncio.sleep(1)
    await bench.crash()
    return bench


def live() -> Bench:
    """A bench after a crash: its logs hold the whole life."""
    return run(_live)


def _write(version: int) -> None:
    bench = live()

    async def reopened(clock: SimulatedClock) -> dict[str, Any]:
        again = Bench(clock, log=bench.log, dead_log=bench.dead_log, policy=POLICY)
        await again.open()
        options = await options_of(again)
        return {**state_of(again), "keys": keys_of(again), "options": options}

    path = golden(version)
    if path.exists():
        sys.exit(f"{path} is there")
    found = {
        "log": [[position, payload.hex()] for position, payload in bench.log.records],
        "dead_log": [[position, payload.hex()] for position, payload in bench.dead_log.records],
        "state": run(reopened),
    }
    path.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))
    print(json.dumps(found["state"], indent=1))


if __name__ == "__main__":
    _write(int(sys.argv[1]))

"""Logs as a server leaves them that has much to do: written at once, without a server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.queue.records.history import encode_attempt
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.letters import DeadLetter, encode_dead
from dispatcher.queue.records.messages import encode_message
from dispatcher.queue.records.paused import encode_paused
from dispatcher.queue.records.retry import encode_retry
from dispatcher.txlog.files import FileLog

_INCARNATION = 1
_DEAD_INCARNATION = 2
_DIED_AT_US = 1_704_067_200_000_000
_RETRY_US = 3_600_000_000
_AT_ONCE = 1500
_BODY = b"x" * 64
_CAUSES = (
    (AttemptResult(404, None, "status 404", 3), "rejected"),
    (AttemptResult(503, None, "status 503", 3), "retries_exhausted"),
    (AttemptResult(None, Failure.TIMEOUT, "no answer", 3), "retries_exhausted"),
)


@dataclass(frozen=True, slots=True)
class Filled:
    """What is in the logs: the held destination, and ids of `deep` messages that wait there, of
    others that wait for a retry, and of dead letters."""

    held: str
    deep: list[str]
    scheduled: list[str]
    dead: list[str]


@dataclass(frozen=True, slots=True)
class Amounts:
    """`deep` of `messages` wait in one lane that is held; the others wait for a retry, in `lanes`
    lanes in turn. `dead` letters died there, a thousand destinations."""

    messages: int
    deep: int
    lanes: int
    dead: int


async def fill(log_directory: Path, dead_directory: Path, amounts: Amounts) -> Filled:
    """Write both logs."""
    held = Origin.parse(b"127.0.0.1:9").destination
    lanes = [_destination(number) for number in range(amounts.lanes)]
    log_directory.parent.mkdir(parents=True, exist_ok=True)
    deep, scheduled = await _fill_log(FileLog(log_directory), amounts, held, lanes)
    dead = await _fill_dead(FileLog(dead_directory), amounts, lanes[:1000])
    return Filled(str(held), deep, scheduled, dead)


async def _fill_log(
    log: FileLog, amounts: Amounts, held: Destination, lanes: Sequence[Destination]
) -> tuple[list[str], list[str]]:
    await log.open("benchmark", 0)
    await log.append([encode_paused([held.key])])
    deep: list[str] = []
    scheduled: list[str] = []
    for numbers in _portions(amounts.messages):
        messages = [
            _message(held if n < amounts.deep else lanes[n % len(lanes)], _now_us())
            for n in numbers
        ]
        positions = await log.append([encode_message(one) for one in messages])
        retries: list[bytes] = []
        for number, message, position in zip(numbers, messages, positions, strict=True):
            message.position = position
            name = wire_id(0, _INCARNATION, position).decode()
            if number < amounts.deep:
                deep.append(name)
            else:
                scheduled.append(name)
                message.attempt = 1
                message.history = encode_attempt(_now_us(), _CAUSES[1][0])
                retries.append(encode_retry(message, _now_us() + _RETRY_US, "status 503"))
        if retries:
            await log.append(retries)
    await log.close()
    return deep, scheduled


async def _fill_dead(
    log: FileLog, amounts: Amounts, destinations: Sequence[Destination]
) -> list[str]:
    await log.open("benchmark", 0)
    dead: list[str] = []
    histories = [encode_attempt(_DIED_AT_US, result) for result, _ in _CAUSES]
    for numbers in _portions(amounts.dead):
        payloads = []
        for number in numbers:
            which = number % len(_CAUSES)
            result, reason = _CAUSES[which]
            message = _message(destinations[number % len(destinations)], _DIED_AT_US)
            message.incarnation = _DEAD_INCARNATION
            message.position = number + 1
            message.attempt = 1
            message.history = histories[which]
            died_at = _DIED_AT_US + number * 1000
            letter = DeadLetter(0, message, died_at, reason, result.detail, b"")
            payloads.append(encode_dead(letter))
            dead.append(wire_id(0, _DEAD_INCARNATION, message.position).decode())
        await log.append(payloads)
    await log.close()
    return dead


def _portions(count: int) -> Iterator[range]:
    for start in range(0, count, _AT_ONCE):
        yield range(start, min(start + _AT_ONCE, count))


def _message(destination: Destination, accepted_at: int) -> Message:
    head = b"POST /message HTTP/1.1\r\nHost: benchmark\r\nContent-Length: %d\r\n" % len(_BODY)
    return Message(
        destination, head, _BODY, timeout_ms=0, accepted_at=accepted_at, incarnation=_INCARNATION
    )


def _destination(number: int) -> Destination:
    """Of loopback, where nobody listens."""
    host = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}:9"
    return Origin.parse(host.encode()).destination


def _now_us() -> int:
    return time.time_ns() // 1000

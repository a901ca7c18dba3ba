"""Takes one request whose head is there, and decides what becomes of it.

It is handed to the queue if it is whole, its body is begun if it is not (`pieces` goes on with it),
or it is answered without the queue. The usual request is like the one before it, and its head is
not even read. The rest of a refused body is dropped here too.
"""

from __future__ import annotations

from dispatcher.ingress import answers, refusals
from dispatcher.ingress.exchange import Exchange
from dispatcher.ingress.forward import Forward, forward
from dispatcher.ingress.handover import hand_over
from dispatcher.ingress.handover_all import hand_over_to_all
from dispatcher.ingress.head import CHUNKED, EXPECT, Head, read_head
from dispatcher.ingress.heads import HEAD_END
from dispatcher.ingress.local import answer_locally
from dispatcher.ingress.pattern import Pattern
from dispatcher.ingress.pieces import begin_body
from dispatcher.ingress.refusals import (
    MAX_HEAD_BYTES,
    MalformedError,
    RequestError,
    UnacceptableError,
)
from dispatcher.ingress.states import DROP, IDLE


def take_alike(exchange: Exchange, pattern: Pattern, data: bytes, start: int) -> int:
    """Take the request at `data[start:]`, or its head if its body is not whole, if it can be
    accepted and its head is like the last one; return where what follows begins, or 0."""
    if not pattern.is_like(data, start):
        return 0
    start += len(pattern.whole)
    end = start + pattern.length
    shared = exchange.shared
    if end - start > shared.max_body or shared.acceptor.refusal() is not None:
        return 0
    exchange.heads.misses = 0
    if end > len(data):
        wanted = Forward(pattern.destination, pattern.head, -1, pattern.options)
        begin_body(exchange, pattern.style, end - start, wanted)
        return start
    hand_over(
        exchange,
        pattern.style,
        pattern.destination,
        pattern.options,
        pattern.head,
        data[start:end],
    )
    return end


def take_request(exchange: Exchange, data: bytes, start: int, head_end: int) -> int:
    """Take the request whose head is `data[start:head_end]`, or only the head if its body is not
    whole; return where what follows begins."""
    shared = exchange.shared
    raw = data[start:head_end]
    body_start = head_end + len(HEAD_END)
    try:
        if body_start - start > MAX_HEAD_BYTES:
            raise MalformedError(refusals.HEAD_TOO_LARGE)
        head = read_head(raw, shared.kinds)
    except MalformedError as malformed:
        exchange.fail(malformed.refusal, no_body=raw.startswith(b"HEAD "))
        return body_start
    try:
        wanted = forward(head, shared.config, exchange.entrance)
        refusal = shared.acceptor.refusal()
        if refusal is not None:
            raise UnacceptableError(refusal)
    except RequestError as refused:
        return body_start + _answer(exchange, head, len(data) - body_start, refused)
    body_end = body_start + head.length
    if body_start <= body_end <= len(data):
        exchange.heads.remember(raw, head, wanted)
        if wanted.group:
            hand_over_to_all(exchange, head.style, wanted, data[body_start:body_end])
            return body_end
        hand_over(
            exchange,
            head.style,
            wanted.destination,
            wanted.options,
            wanted.head,
            data[body_start:body_end],
        )
        return body_end
    if EXPECT in head.found:
        if body_start == len(data):
            exchange.outbox.put(answers.CONTINUE)
    elif head.length != CHUNKED:  # neither has a pattern, nor takes the last one away
        exchange.heads.remember(raw, head, wanted)
    begin_body(exchange, head.style, head.length, wanted)
    return body_start


def drop(exchange: Exchange, data: bytes) -> int:
    """Skip bytes of a refused body; return where what follows it begins."""
    dropped = min(exchange.owed_bytes, len(data))
    exchange.owed_bytes -= dropped
    if not exchange.owed_bytes:
        exchange.enter(IDLE)
        exchange.since_s = exchange.shared.clock()
    return dropped


def _answer(exchange: Exchange, head: Head, arrived: int, refused: RequestError) -> int:
    """Answer without the queue; return how many of the `arrived` bytes are its body."""
    local = answer_locally(head, arrived, refused, exchange.shared)
    exchange.outbox.put(local.answer)
    exchange.heads.empty_lines = 0
    exchange.since_s = exchange.shared.clock()
    if local.ends:
        exchange.end(lingers=True)
    elif local.owed:
        exchange.enter(DROP)
        exchange.owed_bytes = local.owed
    return local.skipped

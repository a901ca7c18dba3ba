"""Requests that come in pieces: takes their heads and bodies as they arrive.

What is not whole holds memory, so `room` is made for it, and it is refused if there is none.
"""

from __future__ import annotations

from functools import partial

from dispatcher.ingress.exchange import Exchange
from dispatcher.ingress.forward import Forward
from dispatcher.ingress.handover import hand_over
from dispatcher.ingress.handover_all import hand_over_to_all
from dispatcher.ingress.reading import Wait
from dispatcher.ingress.receiving import Receiving
from dispatcher.ingress.refusals import RequestError
from dispatcher.ingress.room import make_room
from dispatcher.ingress.shared import OpenConnection
from dispatcher.ingress.slow import head_rate
from dispatcher.ingress.states import BODY, IDLE
from dispatcher.ingress.turn import Turn


def take_head(exchange: Exchange, data: bytes, asker: OpenConnection) -> bytes:
    """Take bytes of a head; return all of them, from the head's first, once it is whole, and b""
    until then. `asker` is the connection, which makes no room for itself."""
    shared = exchange.shared
    memory = shared.head_memory
    if memory.held_bytes + len(data) > memory.max_bytes:
        now_s = shared.clock()
        rate = head_rate(exchange, now_s, len(data))
        make_room(shared, memory, len(data), asker=asker, rate=rate, now_s=now_s)
    try:
        whole = exchange.heads.add(data)
    except RequestError as refused:
        exchange.abandon(refused.refusal)
        return b""
    if whole:
        exchange.enter(IDLE)
    return whole


def begin_body(exchange: Exchange, style: int, length: int, wanted: Forward) -> None:
    """The head of a request is read, and its body is to come: `length` bytes, or CHUNKED."""
    exchange.enter(BODY)
    on_progress = partial(_went_on, exchange)
    exchange.receiving = Receiving(exchange.shared, style, length, wanted, on_progress)


def take_body(
    exchange: Exchange, data: bytes, start: int, turn: Turn, asker: OpenConnection
) -> int:
    """Take bytes of a body at `data[start:]`; return where it stopped: after the body's last byte,
    or, if the state is still BODY, where the turn was over. `asker` is the connection, which makes
    no room for itself."""
    receiving = exchange.receiving
    assert receiving is not None  # there is one in BODY
    shared = exchange.shared
    now_s = shared.clock()
    memory = shared.memory
    body = receiving.body
    pace = receiving.pace
    size_bytes = len(data) - start
    if memory.held_bytes + size_bytes > memory.max_bytes:
        rate = pace.bytes_a_second(now_s, size_bytes)
        make_room(shared, memory, size_bytes, asker=asker, rate=rate, now_s=now_s)
    try:
        end = body.take(data, start, turn)
    except RequestError as refused:
        exchange.abandon(refused.refusal)
        return len(data)
    if body.is_whole:
        _finish_body(exchange, receiving)
        return end
    if body.refusal is not None:
        exchange.abandon(body.refusal)
        return len(data)
    if exchange.receiving is not receiving:
        return len(data)  # it was refused while it was taken
    pace.took(end - start, now_s)  # what is set aside is offered again
    if body.congested:
        exchange.reading.pause(Wait.UPLOAD)
        pace.rest(now_s)
    return end


def _finish_body(exchange: Exchange, receiving: Receiving) -> None:
    try:
        content, upload = receiving.finish()
    except RequestError as refused:
        exchange.abandon(refused.refusal)
        return
    if exchange.receiving is not receiving:
        return  # it was refused while it was finished
    exchange.receiving = None
    exchange.reading.resume(Wait.UPLOAD)  # the backlog may have held the end of the body
    exchange.enter(IDLE)
    body = receiving.body
    wanted = receiving.wanted
    if wanted.group:
        hand_over_to_all(
            exchange,
            receiving.style,
            wanted,
            content,
            upload,
            body.size,
            body.held,
            body.printer,
        )
        return
    head = wanted.head_with_length(body.size)
    hand_over(
        exchange,
        receiving.style,
        wanted.destination,
        wanted.options,
        head,
        content,
        upload,
        body.size,
        body.held,
        body.printer,
    )


def _went_on(exchange: Exchange) -> None:
    """The log took a piece of the body, or refused it."""
    receiving = exchange.receiving
    if receiving is None:
        return
    body = receiving.body
    body.recount()
    if body.refusal is not None:
        exchange.abandon(body.refusal)
    elif not body.congested and exchange.reading.waits_for(Wait.UPLOAD):
        receiving.pace.go_on(exchange.shared.clock())
        exchange.reading.resume(Wait.UPLOAD)

"""Hands a whole request to the queue."""

from __future__ import annotations

import time

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.options import Options
from dispatcher.ingress import answers
from dispatcher.ingress.exchange import Exchange
from dispatcher.queue.ports import Receipt, Upload


def hand_over(
    exchange: Exchange,
    style: int,
    destination: Destination,
    options: Options,
    head: bytes,
    content: bytes,
    upload: Upload | None = None,
    size: int = 0,
    receipt: Receipt | None = None,
) -> None:
    """Hand a whole request to the queue, which may answer before this returns.

    `head` is what will be sent; `size` is the body's in bytes where it is in `upload`; `receipt`
    passes on to the outbox. If `style` says so, it is the last request.
    """
    shared = exchange.shared
    body_size = len(content) if upload is None else size
    accepted_at = time.time_ns() // 1000
    if accepted_at < 0:  # the clock is not set, and records have no instants before 1970
        accepted_at = 0
    message = Message(
        destination,
        head,
        content,
        timeout_ms=options.timeout_ms or 0,
        accepted_at=accepted_at,
        body_size=body_size,
    )
    outbox = exchange.outbox
    outbox.expect(style, body_size)
    exchange.heads.empty_lines = 0
    exchange.since_s = shared.now_s
    if style & answers.CLOSE:
        exchange.begin_ending(lingers=not exchange.at_eof)
    shared.acceptor.accept(message, receipt or outbox, upload)

"""Hands a whole request to the queue."""

from __future__ import annotations

import time
from dataclasses import replace

from dispatcher.core.answer import MOST_WAITED_BYTES
from dispatcher.core.destination import Destination
from dispatcher.core.idempotency import Printer, begin_print, print_of
from dispatcher.core.message import Message
from dispatcher.core.option_reading import Options
from dispatcher.ingress import answers
from dispatcher.ingress.awaiting import Awaiting
from dispatcher.ingress.exchange import LATELY, Exchange
from dispatcher.ingress.memory import Held
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
    held: Held | None = None,
    printer: Printer | None = None,
) -> None:
    """Hand a whole request to the queue, which may answer before this returns.

    `head` is what will be sent; `size` is the body's in bytes where it is in `upload`; `held`
    counts what of it is in memory; `printer` has taken it, where it came in pieces and that is
    wanted. If `style` says so, it is the last request.
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
    receipt: Receipt
    if not options.is_plain:
        receipt = _with_options(exchange, message, options, style, printer)
    else:
        receipt = outbox = exchange.outbox
        outbox.expect(style, body_size)
    exchange.heads.empty_lines = 0
    exchange.since_s = LATELY
    if style & answers.CLOSE:
        exchange.begin_ending(lingers=not exchange.at_eof)
    if held is not None:
        receipt = held.until_answered(receipt)
    shared.acceptor.accept(message, receipt, upload)


def _with_options(
    exchange: Exchange, message: Message, options: Options, style: int, printer: Printer | None
) -> Receipt:
    """Give a message what was asked for with it; returns who is told that it is durable."""
    outbox = exchange.outbox
    if options.idempotency_key is not None:
        if printer is None:
            printer = begin_print(message.head)
            printer.update(message.body)
        terms = options.terms(message.accepted_at)
        message.terms = replace(terms, request_print=print_of(printer))
    elif options.has_terms:
        message.terms = options.terms(message.accepted_at)
    if options.wait_ms is not None:
        message.want_start(MOST_WAITED_BYTES)
        place = outbox.wait(style, message.body_size)
        exchange.awaiting = Awaiting(exchange.shared, outbox, place, options.wait_ms)
        return exchange.awaiting
    meets_others = options.is_keyed or options.is_placed
    if options.idempotency_key is not None or (exchange.shared.spreads_keys and meets_others):
        return outbox.place(style, message.body_size)
    outbox.expect(style, message.body_size)
    return outbox

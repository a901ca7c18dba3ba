"""Hands a whole request to the queue that is for the members of a group: a message for each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from dispatcher.core.idempotency import Printer, place_in_group, print_of
from dispatcher.core.message import Message
from dispatcher.errors import Refusal
from dispatcher.ingress import answers
from dispatcher.ingress.exchange import LATELY, Exchange
from dispatcher.ingress.forward import Forward
from dispatcher.ingress.memory import Held
from dispatcher.ingress.outbox import MAX_HELD_BYTES, Place
from dispatcher.queue.ports import Upload


def hand_over_to_all(
    exchange: Exchange,
    style: int,
    wanted: Forward,
    content: bytes,
    upload: Upload | None = None,
    size: int = 0,
    held: Held | None = None,
    printer: Printer | None = None,
) -> None:
    """Hand a whole request to a group to the queue, which may answer before this returns.

    `size` is the body's in bytes where it is in `upload`, which is one of `start_uploads`; `held`
    counts what of it is in memory; `printer` has taken it, where it came in pieces and that is
    wanted. If `style` says so, it is the last request.
    """
    shared = exchange.shared
    if printer is None and wanted.options.idempotency_key is not None:
        printer = wanted.begin_print()
        printer.update(content)
    messages = _messages(wanted, content, len(content) if upload is None else size, printer)
    # There may be hundreds of messages: no other request is read until this one was answered.
    place = exchange.outbox.place(style | answers.GROUP, MAX_HELD_BYTES)
    exchange.heads.empty_lines = 0
    exchange.since_s = LATELY
    if style & answers.CLOSE:
        exchange.begin_ending(lingers=not exchange.at_eof)
    shared.acceptor.accept_all(messages, _Receipt(place, held), upload, wanted.place)


def _messages(
    wanted: Forward, content: bytes, body_size: int, printer: Printer | None
) -> list[Message]:
    """A message for each member, in the order of the members."""
    accepted_at = max(0, time.time_ns() // 1000)  # as in `handover`
    options = wanted.options
    terms = options.terms(accepted_at) if options.has_terms else None
    if printer is not None and terms is not None:
        terms = replace(terms, request_print=print_of(printer))
    messages: list[Message] = []
    for one in (wanted, *wanted.others):
        message = Message(
            one.destination,
            one.head_with_length(body_size),
            content,
            timeout_ms=options.timeout_ms or 0,
            accepted_at=accepted_at,
            body_size=body_size,
        )
        message.terms = terms
        if printer is not None and terms is not None:
            message.terms = replace(terms, key_place=place_in_group(wanted.group, len(messages)))
        messages.append(message)
    return messages


class _Receipt:
    """Releases the memory of a body, and passes the answer on to its place."""

    __slots__ = ("_held", "_place")

    def __init__(self, place: Place, held: Held | None) -> None:
        self._place = place
        self._held = held

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """All messages are durable."""
        self._release()
        self._place.accepted_all([message.wire_id for message in messages])

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """Nothing was stored."""
        self._release()
        self._place.duplicate(b",".join(message_ids))

    def refused(self, refusal: Refusal) -> None:
        """None was accepted."""
        self._release()
        self._place.refused(refusal)

    def _release(self) -> None:
        if self._held is not None:
            self._held.end()

"""What messages asked for, as far as it counts while they wait, taken in at a start."""

from __future__ import annotations

from functools import lru_cache

from dispatcher.core.flow import Flow, parse_flow
from dispatcher.core.idempotency import key_hashes
from dispatcher.core.terms import Terms
from dispatcher.queue.pending.pending import Pending
from dispatcher.queue.records.layouts import NOT_THERE, Layout, Row
from dispatcher.queue.records.messages import accepted_at_of
from dispatcher.queue.records.terms import decode_terms
from dispatcher.queue.registry.idempotency.keys import Keys
from dispatcher.txlog import Records


class Rows:
    """Messages of a run that follow each other, from the `first` on, all before `upto`, and whose
    terms have one layout: their terms, and where behind those each MESSAGE begins."""

    __slots__ = ("first", "layout", "rows", "starts", "upto")

    def __init__(self, layout: Layout, first: int) -> None:
        self.layout = layout
        self.first = first
        self.upto = first
        self.rows: list[Row] = []
        self.starts: list[int] = []


class Noted:
    """By slot, until all is lined up: `patience_us`, where a message has its own, and `late`: what
    it stands behind in its order, and its id's position."""

    def __init__(self, pending: Pending, keys: Keys) -> None:
        self._pending = pending
        self._keys = keys
        self.patience_us: dict[int, int] = {}
        self.late: dict[int, tuple[int, int]] = {}

    def clear(self) -> None:
        """All is lined up."""
        self.patience_us.clear()
        self.late.clear()

    def note(self, slot: int, terms: Terms, destination: bytes) -> None:
        """Take in what was asked for with the message of a slot, but its idempotency keys."""
        if terms.deadline_us:
            self._pending.deadlines.add(slot, terms.deadline_us)
        if terms.retry_max_delay_ms is not None:
            self.patience_us[slot] = terms.retry_max_delay_ms * 1000
        if terms.has_line:
            position = self._pending.index.id_position[slot]
            self._pending.lines.note(slot, destination, terms, position)
            if terms.order_after:
                self.late[slot] = terms.order_after, position

    def note_all(
        self,
        found: Rows,
        records: Records,
        incarnation: int,
        slots: list[int],
        places: list[bytes],
    ) -> None:
        """Take in what was asked for with many messages, which were just entered and lie where they
        were first stored. `places` are their destinations, `scheme://host[:port]`."""
        layout, rows = found.layout, found.rows
        if layout.not_before != NOT_THERE:
            due_at, at = self._pending.index.due_at, layout.not_before
            for slot, row in zip(slots, rows, strict=True):
                due_at[slot] = row[at]
        if layout.deadline != NOT_THERE:
            add, at = self._pending.deadlines.add, layout.deadline
            for slot, row in zip(slots, rows, strict=True):
                add(slot, row[at])
        if layout.retry_max_delay != NOT_THERE:
            at = layout.retry_max_delay
            for slot, row in zip(slots, rows, strict=True):
                self.patience_us[slot] = row[at] * 1000
        if layout.order_key != NOT_THERE:
            at = layout.order_key
            self._pending.lines.note_orders(
                slots, places, [row[at].decode("ascii") for row in rows]
            )
        if layout.flow_key != NOT_THERE:
            self._note_flows(layout, rows, slots, places)
        if layout.order_after != NOT_THERE:
            ids, at = self._pending.index.id_position, layout.order_after
            for slot, row in zip(slots, rows, strict=True):
                self.late[slot] = row[at], ids[slot]
        if layout.idempotency_key != NOT_THERE or layout.copy_of != NOT_THERE:
            self._visit_keys(found, records, incarnation, slots, places)

    def _note_flows(
        self, layout: Layout, rows: list[Row], slots: list[int], places: list[bytes]
    ) -> None:
        note_flow, ids = self._pending.lines.note_flow, self._pending.index.id_position
        at, flow_at = layout.flow_key, layout.flow
        for slot, row, place in zip(slots, rows, places, strict=True):
            flow = None if flow_at == NOT_THERE else _flow(row[flow_at])
            note_flow(slot, place, row[at].decode("ascii"), flow, ids[slot])

    def _visit_keys(
        self,
        found: Rows,
        records: Records,
        incarnation: int,
        slots: list[int],
        places: list[bytes],
    ) -> None:
        data, layout, rows = records.data, found.layout, found.rows
        ids = self._pending.index.id_position
        positions = [ids[slot] for slot in slots]
        accepted_at = [accepted_at_of(data, start) for start in found.starts]
        is_plain = layout.copy_of == NOT_THERE == layout.key_place
        if is_plain and layout.request_print != NOT_THERE:
            key, print_ = layout.idempotency_key, layout.request_print
            hashes = key_hashes(places, [row[key] for row in rows])
            prints = [row[print_] for row in rows]
            self._keys.visit_messages(hashes, prints, positions, incarnation, accepted_at)
            return
        for position, place, at_us in zip(positions, places, accepted_at, strict=True):
            terms = decode_terms(data, position - records.origin)
            assert terms is not None, "it has a key"
            self._keys.visit_message(terms, place, position, incarnation, at_us)


@lru_cache(maxsize=256)
def _flow(text: bytes) -> Flow | None:
    return parse_flow(text.decode("ascii"))

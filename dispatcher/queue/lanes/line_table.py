"""The table of lines: by their names, and by the slots of their messages.

A line has a number, and a slot the numbers of its lines; 0 says that it has none. An order line is
forgotten with its last message; a flow line is remembered, up to so many.
"""

from __future__ import annotations

from dispatcher.core.flow import NO_FLOW
from dispatcher.queue.lanes.line import FlowLine, Name, OrderLine
from dispatcher.queue.lanes.numbers import SlotNumbers

MOST_IDLE = 100_000
"""Flow keys without a message that are remembered; more than that, and the one that was idle for
the longest time is as if it were new."""


class LineTable:
    """The lines of one partition. `order_numbers`, `flow_numbers` and `bound_numbers` have the
    lines of slots: of their order keys, their flow keys and their rules."""

    __slots__ = (
        "_free_flows",
        "_free_orders",
        "_numbered_orders",
        "bound_numbers",
        "flow_numbers",
        "flows",
        "idle",
        "numbered_flows",
        "order_numbers",
        "orders",
    )

    def __init__(self) -> None:
        self.orders: dict[Name, OrderLine] = {}
        self.flows: dict[Name, FlowLine] = {}
        self.idle: dict[Name, FlowLine] = {}
        self.order_numbers = SlotNumbers()
        self.flow_numbers = SlotNumbers()
        self.bound_numbers = SlotNumbers()
        self.numbered_flows: list[FlowLine | None] = [None]
        self._numbered_orders: list[OrderLine | None] = [None]
        self._free_orders: list[int] = []
        self._free_flows: list[int] = []

    def __len__(self) -> int:
        return len(self.orders) + len(self.flows)

    def __contains__(self, slot: int) -> bool:
        """Whether a slot's message has a line."""
        return bool(self.order_numbers[slot] or self.flow_numbers[slot] or self.bound_numbers[slot])

    def order_of(self, slot: int) -> OrderLine | None:
        """The line of a slot's order key."""
        return self._numbered_orders[self.order_numbers[slot]]

    def flow_of(self, slot: int) -> FlowLine | None:
        """The line of a slot's flow key."""
        return self.numbered_flows[self.flow_numbers[slot]]

    def bound_of(self, slot: int) -> FlowLine | None:
        """The line of a slot's rule."""
        return self.numbered_flows[self.bound_numbers[slot]]

    def order_line(self, name: Name) -> OrderLine:
        """The order line with this name, made where there is none."""
        line = self.orders.get(name)
        if line is None:
            number = self._free_orders.pop() if self._free_orders else len(self._numbered_orders)
            line = self.orders[name] = OrderLine(name, number)
            if number == len(self._numbered_orders):
                self._numbered_orders.append(line)
            else:
                self._numbered_orders[number] = line
        return line

    def flow_line(self, name: Name) -> FlowLine:
        """The flow line with this name, made where there is none."""
        line = self.flows.get(name)
        if line is None:
            number = self._free_flows.pop() if self._free_flows else len(self.numbered_flows)
            line = self.flows[name] = FlowLine(name, number)
            if number == len(self.numbered_flows):
                self.numbered_flows.append(line)
            else:
                self.numbered_flows[number] = line
        return line

    def forget(self, line: OrderLine) -> None:
        """An order key has no message any more. Idempotent."""
        if self.orders.get(line.name) is line:
            del self.orders[line.name]
            self._numbered_orders[line.number] = None
            self._free_orders.append(line.number)

    def rest(self, line: FlowLine) -> None:
        """A flow key has no message any more: it is remembered for what was said of it."""
        self.idle.pop(line.name, None)
        self.idle[line.name] = line
        if line.flow is not NO_FLOW and len(self.idle) <= MOST_IDLE:
            return
        oldest = line if line.flow is NO_FLOW else self.idle[next(iter(self.idle))]
        del self.idle[oldest.name], self.flows[oldest.name]
        self.numbered_flows[oldest.number] = None
        self._free_flows.append(oldest.number)

    def clear(self) -> None:
        """No slot has a line: give memory back."""
        self.order_numbers.clear()
        self.flow_numbers.clear()
        self.bound_numbers.clear()

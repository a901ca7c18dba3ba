"""The terms of a message: what its caller asked for that lasts longer than the request.

Made when a message is accepted, stored in its record, and never changed: instants in place of
durations. A message without any has None, and costs what it would without this file.

A new term is a field here, a tag in `queue.records.terms`, and a row in `core.options`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dispatcher.core.flow import Flow


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked for. Of a number None says that the settings count.

    `not_before_us`       no attempt starts before; 0: at once. Microseconds since the epoch, by the
                          wall clock, as the next one.
    `deadline_us`         no attempt starts after it; 0: there is none.
    `retries`             how many may follow the first attempt.
    `retry_delay_ms`      before the first retry.
    `retry_max_delay_ms`  before any retry, at most.
    `idempotency_key`     stands for the message at its destination; visible ASCII, "": none.
    `request_print`       of what was asked for, where there is a key (`core.idempotency`).
    `copy_of`             the id that an imported message had where it was exported, "": none.
    `label`               what the message is found by; visible ASCII, "": none.
    `callback`            a URL (`core.callbacks`) that is told when the message is delivered; "":
                          none.
    `failure_callback`    the same, when it is given up.
    `order_key`           messages of its destination with the same one go one at a time, in order.
    `flow_key`            attempts for its destination with the same one start and run as `flow`
                          says, which is what was in force when it was accepted.
    `order_after`         it was brought back from the dead letters, or redirected, and stands in
                          the order of its key behind what lay before this position of the log; 0:
                          where its id says.
    `key_place`           what the idempotency key belongs to in place of the destination: a place
                          in a group (`core.idempotency`), or the destination that the message had
                          first; "": none.
    """

    not_before_us: int = 0
    deadline_us: int = 0
    retries: int | None = None
    retry_delay_ms: int | None = None
    retry_max_delay_ms: int | None = None
    label: str = ""
    idempotency_key: str = ""
    request_print: int = 0
    copy_of: str = ""
    callback: str = ""
    failure_callback: str = ""
    order_key: str = ""
    flow_key: str = ""
    flow: Flow | None = None
    order_after: int = 0
    key_place: str = ""

    @property
    def stands_for_one(self) -> bool:
        """Whether another message that has the same of these would be a duplicate."""
        return bool(self.idempotency_key or self.copy_of)

    @property
    def calls_back(self) -> bool:
        """Whether somebody is told what becomes of the message."""
        return bool(self.callback or self.failure_callback)

    @property
    def has_line(self) -> bool:
        """Whether there may be others that it has to wait for."""
        return bool(self.order_key or self.flow_key)

    def of_redriven(self) -> Terms:
        """What of it still makes sense when the message comes back from the dead letters."""
        return replace(self, not_before_us=0, deadline_us=0, order_after=0)

    def of_copied(self) -> Terms:
        """What of it still makes sense in a new message that asks for the same, later: of its flow
        key holds what was said last, and not what was said then. Who wanted to be told of the first
        one is not told of a copy that an operator makes."""
        return replace(
            self.of_redriven(),
            idempotency_key="",
            key_place="",
            request_print=0,
            copy_of="",
            callback="",
            failure_callback="",
            flow=None,
        )

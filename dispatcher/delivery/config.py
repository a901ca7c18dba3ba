"""What the delivery side is told when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.egress import EgressPolicy
from dispatcher.delivery.slots import LOOKUPS


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """How messages are delivered.

    `default_timeout_ms`   for one attempt of a message that brings no timeout of its own, above 0.
    `egress`               which addresses may be connected to.
    `own_listeners`        (address, port) pairs the server is bound to; never connected to.
    `idle_timeout_ms`      how long a connection waits for its next message. Below the 60 s after
                           which many servers close: a request rarely meets one that just went.
    `max_age_ms`           how long a connection is used at all; then its name is looked up anew.
    `max_idle`             idle connections kept for one destination, 0 or more.
    `max_idle_total`       idle connections kept for all destinations together, 0 or more.
    `max_leaving`          connections that are waited for until their destinations close them.
    `max_lookups`          names looked up at once, 1 or more; a descriptor each.
    """

    default_timeout_ms: int = 10_000
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    own_listeners: tuple[tuple[str, int], ...] = ()
    idle_timeout_ms: int = 50_000
    max_age_ms: int = 5 * 60_000
    max_idle: int = 256
    max_idle_total: int = 1024
    max_leaving: int = 256
    max_lookups: int = LOOKUPS

    def __post_init__(self) -> None:
        if min(self.default_timeout_ms, self.idle_timeout_ms, self.max_age_ms) < 1:
            raise ValueError("timeouts are at least 1 ms")
        if min(self.max_idle, self.max_idle_total, self.max_leaving) < 0:
            raise ValueError("numbers of connections are not negative")
        if self.max_lookups < 1:
            raise ValueError("at least one name has to be looked up at once")

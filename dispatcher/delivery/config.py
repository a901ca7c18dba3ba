"""What the delivery side is told when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.egress import EgressPolicy


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """How messages are delivered.

    `default_timeout_ms`   for one attempt of a message that brings no timeout of its own, above 0.
    `egress`               which addresses may be connected to.
    `own_listeners`        (address, port) pairs the server is bound to; never connected to.
    `idle_timeout_ms`      how long a connection waits for its next message. Below the 60 s after
                           which many servers close: a request rarely meets one that just went.
    `max_idle`             idle connections kept for one destination, 0 or more.
    `max_idle_total`       idle connections kept for all destinations together, 0 or more.
    """

    default_timeout_ms: int = 10_000
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    own_listeners: tuple[tuple[str, int], ...] = ()
    idle_timeout_ms: int = 50_000
    max_idle: int = 256
    max_idle_total: int = 1024

    def __post_init__(self) -> None:
        if self.default_timeout_ms < 1 or self.idle_timeout_ms < 1:
            raise ValueError("timeouts are at least 1 ms")
        if self.max_idle < 0 or self.max_idle_total < 0:
            raise ValueError("numbers of idle connections are not negative")

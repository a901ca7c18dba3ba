"""What the listener has to know, already checked by the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.keys import Keyring


@dataclass(frozen=True, slots=True)
class IngressConfig:
    """The listener's settings.

    `host`             address or name to listen on; "" is every interface, IPv4 and IPv6.
    `port`             0 lets the system choose one; `Listener.bound` says which.
    `keys`             callers must show one of them, unless it is open.
    `max_body`         bytes; a longer body is refused with 413.
    `head_timeout_s`   from the first byte of a head to its end.
    `body_timeout_s`   without a byte of a body that is still owed, or with too few of them: `pace`.
    `idle_timeout_s`   without a request on a kept-alive connection.
    `max_connections`  open at once; one more is answered 503 and closed. 0: no limit of our own.
    """

    host: str
    port: int
    keys: Keyring = field(default_factory=Keyring)
    max_body: int = 64 * 1024 * 1024
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    max_connections: int = 10_000

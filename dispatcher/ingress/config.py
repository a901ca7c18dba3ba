"""What the listener has to know, already checked by the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from dispatcher.core.keys import Keyring
from dispatcher.core.rules.table import RulesInForce
from dispatcher.listening.tls import Secured
from dispatcher.listening.unix import UnixPlace


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
    `lifetime_s`       after about so long a connection ends with its next answer, so that callers
                       connect anew, to another process of the node too; 0: it may stay.
    `max_connections`  open at once; one more is answered 503 and closed. 0: no limit of our own.
    `proxy`            host and port, as above, of the forward proxy; None: there is none.
    `rules`            what holds now; its groups are asked for.
    `spreads_rules`    messages to a destination that a rule bounds meet there, as those with a key
                       do: other processes accept some of them.
    `unix`             the path that is listened on in place of host and port.
    `tls`              secures connections; None: they are plain. Not those of the forward proxy.
    """

    host: str
    port: int
    keys: Keyring = field(default_factory=Keyring)
    max_body: int = 64 * 1024 * 1024
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    lifetime_s: float = 0.0
    max_connections: int = 10_000
    proxy: tuple[str, int] | None = None
    rules: RulesInForce = field(default_factory=RulesInForce)
    spreads_rules: bool = False
    unix: UnixPlace | None = None
    tls: Secured | None = None

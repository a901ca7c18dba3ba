"""How NATS servers let a client in. Pure: `client` is what uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ssl import SSLContext


@dataclass(frozen=True, slots=True)
class Access:
    """What servers ask of who connects: a user with a password, or credentials, which are the text
    of a file with an NKey and its JWT; and TLS, where their addresses are `tls://`."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: str | None = field(default=None, repr=False)
    tls: SSLContext | None = None

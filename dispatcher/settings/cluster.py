"""Values of the settings of a cluster: servers of NATS, where they are monitored, names of nodes.

As in `values`: each function reads what stood in the environment or in the file, and raises a
`ValueError` that says what is expected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from dispatcher.settings.address import Address
from dispatcher.settings.values import items

_SERVERS_EXPECTED: Final = (
    "addresses of NATS servers, the nearest first, separated by commas, each nats://host, "
    "nats://host:port or nats://user:password@host:port, or the same with tls://"
)
_MONITORING_EXPECTED: Final = (
    "where NATS servers are monitored, separated by commas, each http://host:port or "
    "https://host:port"
)
_REACHED_EXPECTED: Final = (
    "host:port, as other nodes connect to this one, with a port from 1 to 65535"
)
_NODE_EXPECTED: Final = "a name of 1 to 64 letters, digits, dots, dashes and underscores"
_LEAST_KEY: Final = 16
_KEY_EXPECTED: Final = (
    f"one secret of at least {_LEAST_KEY} printable ASCII characters, without blanks and commas, "
    "the same on all nodes"
)
NATS_PORT: Final = 4222
MONITORING_PORT: Final = 8222
_NODE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True)
class NatsServer:
    """One server of NATS, and the name that it lets a client in with, if it asks for one."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where clients connect, without a password."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"

    @property
    def monitoring(self) -> str:
        """Where it is monitored unless told otherwise."""
        return f"http://{_bracketed(self.host)}:{MONITORING_PORT}"

    def __str__(self) -> str:
        return self.url


def nats_servers(raw: object) -> tuple[NatsServer, ...]:
    """Read addresses of NATS servers. A user has a password, and is the same one everywhere, so
    one address may name it for all."""
    try:
        found = tuple(_server(item) for item in items(raw, _SERVERS_EXPECTED))
    except ValueError:
        raise ValueError(_SERVERS_EXPECTED) from None
    users = {(one.user, one.password) for one in found if one.user is not None}
    if len(users) > 1:
        raise ValueError(f"{_SERVERS_EXPECTED}; one user for all of them")
    if len({one.scheme for one in found}) > 1:
        raise ValueError(f"{_SERVERS_EXPECTED}; all of them with TLS, or none")
    return found


def _server(text: str) -> NatsServer:
    parts = urlsplit(text)
    host, port = parts.hostname, parts.port
    has_rest = parts.path not in ("", "/") or parts.query or parts.fragment
    if parts.scheme not in ("nats", "tls") or not host or not _HOST.fullmatch(host) or has_rest:
        raise ValueError(_SERVERS_EXPECTED)
    if (parts.username is None) is not (parts.password is None) or port == 0:
        raise ValueError(_SERVERS_EXPECTED)
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return NatsServer(parts.scheme, host, NATS_PORT if port is None else port, user, password)


def monitoring(raw: object) -> tuple[str, ...]:
    """Read where servers are monitored."""
    return tuple(_monitored(item) for item in items(raw, _MONITORING_EXPECTED))


def _monitored(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(_MONITORING_EXPECTED) from None
    is_odd = parts.path not in ("", "/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("http", "https") or not parts.hostname or is_odd or port == 0:
        raise ValueError(_MONITORING_EXPECTED)
    return f"{parts.scheme}://{parts.netloc}"


def reached(raw: object) -> Address | None:
    """Read where others reach a node; no text is none."""
    text = raw.strip() if isinstance(raw, str) else ""
    if raw == "" or (isinstance(raw, str) and not text):
        return None
    try:
        found = Address.parse(text)
    except ValueError:
        raise ValueError(_REACHED_EXPECTED) from None
    if not found.host or not found.port or _is_everywhere(found.host):
        raise ValueError(_REACHED_EXPECTED)
    return found


def _is_everywhere(host: str) -> bool:
    """Whether it is an address to listen on: who connects to it connects to itself."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def node_name(raw: object) -> str:
    """Read the name of a node; no text is none."""
    text = raw.strip() if isinstance(raw, str) else None
    if text == "":
        return ""
    if text is None or not _NODE.fullmatch(text):
        raise ValueError(_NODE_EXPECTED)
    return text


def shared_key(raw: object) -> bytes:
    """Read the secret that nodes show each other; no text is none."""
    text = raw.strip() if isinstance(raw, str) else None
    if text == "":
        return b""
    is_usable = text is not None and text.isascii() and text.isprintable()
    if text is None or not is_usable or len(text) < _LEAST_KEY or " " in text or "," in text:
        raise ValueError(_KEY_EXPECTED)
    return text.encode("ascii")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

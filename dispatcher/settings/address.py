"""An address to listen on, as it stands in `LISTEN` and `API_LISTEN`."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Final

from dispatcher.core.authority import authority

EXPECTED = "host:port, :port or [IPv6 address]:port, with a port from 0 to 65535 (0: any free one)"
UNIX: Final = "unix:"
_LONGEST_PATH: Final = 107
"""Bytes that the system has for the path of a socket."""
_UNIX_EXPECTED: Final = (
    f"unix:/path with an absolute path of at most {_LONGEST_PATH} bytes, without quotes and "
    "control characters"
)

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ADDRESS = re.compile(
    rf"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>{_LABEL}(?:\.{_LABEL})*))?:(?P<port>[0-9]{{1,5}})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on.

    `host` is "" for every interface (IPv4 and IPv6), else a name or an address without brackets.
    `port` is 0 for any free port.
    """

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Address:
        """Read `host:port`, `:port` or `[v6]:port`.

        Raises:
            ValueError: with what is expected.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None or int(match["port"]) > 65535:
            raise ValueError(EXPECTED)
        return Address(_host(match["v6"], match["host"]), int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect. `localhost` is one (RFC 6761, 6.3)."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a unix socket to listen on. It is absolute."""

    path: str

    @staticmethod
    def parse(text: str) -> UnixAddress:
        """Read `unix:/path`; `unix:///path` is the same.

        Raises:
            ValueError: with what is expected.
        """
        path = text.removeprefix(UNIX)
        path = f"/{path.lstrip('/')}" if path.startswith("/") else ""
        is_odd = not path.isprintable() or any(quote in path for quote in "\"'")
        if path in ("", "/") or is_odd or len(os.fsencode(path)) > _LONGEST_PATH:
            raise ValueError(_UNIX_EXPECTED)
        return UnixAddress(path)

    @property
    def is_loopback(self) -> bool:
        """Only programs on this machine can connect, and of those who may open the file."""
        return True

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


def parse_listen(text: str) -> Address | UnixAddress:
    """Read an address or the path of a unix socket.

    Raises:
        ValueError: with what is expected.
    """
    if text.startswith(UNIX):
        return UnixAddress.parse(text)
    try:
        return Address.parse(text)
    except ValueError:
        raise ValueError(f"{EXPECTED}, or unix:/path") from None


def _host(v6: str | None, name: str | None) -> str:
    if v6 is not None:
        try:
            return str(ipaddress.IPv6Address(v6))
        except ValueError:
            raise ValueError(EXPECTED) from None
    if name is None:
        return ""
    if name.replace(".", "").isdigit():
        # Only digits and dots: an IPv4 address or a slip of the finger, never a name.
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ValueError(EXPECTED) from None
    return name

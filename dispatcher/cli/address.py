"""Where requests of commands go: an address, whom to trust there, and connections to it."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dispatcher.cli.errors import BadUsage
from dispatcher.core.authority import authority

CA_VARIABLE: Final = "DISPATCHER_CA_FILE"
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
UNIX: Final = "unix:"
_URL: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z]+)://)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]/?#@:\s]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<base>(?:/[^?#\s]*)?)"
)
_LOCAL: Final = "localhost"
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose certificates are right, where it is not for the system to say: those of the authorities
    in a file; or, with `is_own`, nothing but the certificate in it, whatever name it is for."""

    file: Path
    is_own: bool = False

    def context(self) -> ssl.SSLContext:
        """What connections are secured with.

        Raises:
            BadUsage: the file cannot be used.
        """
        try:
            made = ssl.create_default_context(cafile=str(self.file))
        except OSError as error:
            reason = error.strerror or "no PEM"
            raise BadUsage(f"{self.file}: {reason}; expected a PEM file of certificates") from error
        if self.is_own:
            made.check_hostname = False
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return made


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go. `base` is put before every path and does not end with `/`. `trust` is for
    `https`; None: as the system says. The host of the scheme `unix` is a path."""

    scheme: str
    host: str
    port: int
    base: str = ""
    trust: Trust | None = field(default=None, compare=False)

    @staticmethod
    def parse(url: str, source: str) -> Server:
        """Read `[http[s]://]host[:port][/base]`, or `unix:/path`.

        Raises:
            BadUsage: naming `source`, the option or variable that the address stands in.
        """
        if url.strip().startswith(UNIX):
            path = url.strip().removeprefix(UNIX)
            if not path.startswith("/"):
                raise BadUsage(f"{source}: expected unix:/path, with an absolute path")
            return Server("unix", f"/{path.lstrip('/')}", 0)
        match = _URL.fullmatch(url.strip())
        scheme = (match["scheme"] or "http").lower() if match else ""
        if match is None or scheme not in _DEFAULT_PORT or not _is_port(match["port"]):
            raise BadUsage(
                f"{source}: expected an address such as http://127.0.0.1:8081, or unix:/path"
            )
        port = int(match["port"] or _DEFAULT_PORT[scheme])
        return Server(scheme, match["v6"] or match["host"], port, match["base"].rstrip("/"))

    def connect(self, timeout_s: float = CONNECT_SECONDS) -> http.client.HTTPConnection:
        """Return a connection that is open, with `ANSWER_SECONDS` for each read and write.

        Raises:
            OSError: there is none.
        """
        connection = self._connection(timeout_s)
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        return connection

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self.scheme == "unix":
            return _UnixConnection(self.host, timeout_s)
        if self.scheme != "https":
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)
        context = None if self.trust is None else self.trust.context()
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=context)

    @property
    def authority(self) -> str:
        """What `Host` says to it."""
        return _LOCAL if self.scheme == "unix" else authority(self.host, self.port)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"{UNIX}{self.host}"
        return f"{self.scheme}://{self.authority}{self.base}"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__(_LOCAL, timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _is_port(text: str | None) -> bool:
    return text is None or 0 < int(text) < 65536

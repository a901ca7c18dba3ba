"""Where a message goes: the value of `X-Dispatcher-Origin-Host`, read and checked once."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from dispatcher.core.authority import bracketed

GROUP: Final = b"group:"
"""How the name of a group begins."""

_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_PARTS = re.compile(
    rb"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<authority>[^/]*)(?P<base>.*)", re.DOTALL
)
_AUTHORITY = re.compile(
    rb"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_UNUSABLE_IN_PATH = re.compile(rb"[^\x21-\x7e]")
_MAX_HOST_BYTES: Final = 253
_MAX_LABEL_BYTES: Final = 63


@dataclass(frozen=True, slots=True)
class Destination:
    """A scheme, host and port that messages are sent to; one lane each.

    `host` is lower case, an IPv6 address without brackets. `authority` is the value of `Host`, the
    port left out when it is the scheme's default; `key` is `scheme://authority` in ASCII.

    Several tables are asked for a destination with every message, so what they need is computed
    once, and whoever makes destinations keeps them.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    authority: str = field(init=False, repr=False, compare=False)
    key: bytes = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    @staticmethod
    def parse(text: str) -> Destination:
        """Read `[http[s]://]host[:port]`, as operators write it: an origin without a base path.

        Raises:
            ValueError: with a sentence that says what is wrong.
        """
        # What has no bytes (an unpaired surrogate) is refused like any other strange character.
        origin = Origin.parse(text.encode("utf-8", "surrogatepass"))
        if origin.base_path:
            raise ValueError("it must not have a path")
        return origin.destination

    def __post_init__(self) -> None:
        host = bracketed(self.host)
        is_default = self.port == _DEFAULT_PORT[self.scheme]
        authority = host if is_default else f"{host}:{self.port}"
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "key", f"{self.scheme}://{authority}".encode("ascii"))
        object.__setattr__(self, "_hash", hash((self.scheme, self.host, self.port)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Origin:
    """A parsed origin header.

    `base_path` is put before the request path and does not end with the `/` the caller may have
    written there. `host_line` is the `Host` header with its line end.
    """

    destination: Destination
    base_path: bytes
    host_line: bytes

    def __str__(self) -> str:
        return f"{self.destination}{self.base_path.decode('ascii')}"

    @staticmethod
    def parse(value: bytes) -> Origin:
        """Read `[http[s]://]host[:port][/base]`, without blanks around it.

        Raises:
            ValueError: with a sentence that says what is wrong. User information, a query, a
                fragment, port 0 or above 65535, and an empty or unparsable value are all refused.
        """
        if not value:
            raise ValueError("it is empty")
        if b"?" in value or b"#" in value:
            raise ValueError("it must not contain a query or a fragment")
        parts = _PARTS.fullmatch(value)
        assert parts is not None  # every part of the pattern may be empty
        scheme = _scheme(parts["scheme"])
        if _UNUSABLE_IN_PATH.search(parts["base"]):
            raise ValueError("its base path must not contain blanks, controls or 8-bit bytes")
        host, port = host_and_port(parts["authority"])
        destination = Destination(scheme, host, _DEFAULT_PORT[scheme] if port is None else port)
        return Origin(
            destination,
            parts["base"].removesuffix(b"/"),
            b"Host: " + destination.authority.encode("ascii") + b"\r\n",
        )


def group_in(value: bytes) -> str | None:
    """The name in `group:NAME`, which stands for several places; None where that is not meant. What
    looks like a port is one: `group:8080` is a host that is called so."""
    if not value.startswith(GROUP):
        return None
    name = value[len(GROUP) :]
    return None if name.partition(b"/")[0].isdigit() else name.decode("latin-1")


def _scheme(text: bytes | None) -> Literal["http", "https"]:
    match text.lower() if text is not None else b"http":
        case b"http":
            return "http"
        case b"https":
            return "https"
        case _:
            raise ValueError("its scheme must be http or https")


def host_and_port(authority: bytes) -> tuple[str, int | None]:
    """Read `host[:port]`: the host in lower case, an IPv6 address without brackets, and the port if
    there is one.

    Raises:
        ValueError: with a sentence that says what is wrong.
    """
    if b"@" in authority:
        raise ValueError("it must not contain user information")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError(
            "it must be host, host:port or [v6]:port, optionally after http:// or https://"
        )
    host = _name(match["host"]) if match["v6"] is None else _v6(match["v6"])
    if match["port"] is None:
        return host, None
    port = int(match["port"])
    if not 0 < port < 65536:
        raise ValueError("its port must be between 1 and 65535")
    return host, port


def _v6(text: bytes) -> str:
    try:
        return str(ipaddress.IPv6Address(text.decode("ascii")))
    except ValueError:
        raise ValueError("the address in brackets is not an IPv6 address") from None


def _name(text: bytes) -> str:
    """A host name or IPv4 address in lower case; longer labels than DNS has cannot be looked up."""
    labels = text.removesuffix(b".").split(b".")
    if len(text) > _MAX_HOST_BYTES or not all(0 < len(one) <= _MAX_LABEL_BYTES for one in labels):
        raise ValueError("its host name is not valid")
    return text.decode("ascii").lower()

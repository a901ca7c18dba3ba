"""Which messages a rule is for: `[scheme://]host[:port][/prefix]`.

What is left out does not matter: a match without a port is for every port. `*.` before a host
stands for one or more labels, `*` alone for every host. A prefix is compared with the path as it is
sent, base path included, and ends at a `/`: `/v1` is for `/v1`, `/v1/x` and `/v1?x`, and not for
`/v12`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dispatcher.core.authority import bracketed
from dispatcher.core.destination import Destination, host_and_port

_PARTS: Final = re.compile(
    rb"(?:(?P<scheme>[^/]*)://)?(?P<wild>\*(?:\.|(?=[:/]|\Z)))?(?P<authority>[^/]*)(?P<prefix>.*)",
    re.DOTALL,
)
_PREFIX: Final = re.compile(rb"[\x21\x22\x24-\x3e\x40-\x7e]*")
"""Visible characters but for `?` and `#`, which no path has."""
_ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class Match:
    """What a rule says about where messages go.

    `scheme` is empty and `port` 0 where any will do. `host` is in lower case, an IPv6 address
    without brackets; with `is_wild` it stands for every host that ends with it after a dot, and
    empty for all hosts. `prefix` is empty, or begins with a `/` and does not end with one.
    """

    host: str
    is_wild: bool = False
    scheme: str = ""
    port: int = 0
    prefix: bytes = b""

    @staticmethod
    def parse(text: str) -> Match:
        """Read a match, without blanks around it.

        Raises:
            ValueError: with a sentence that says what is wrong.
        """
        parts = _PARTS.fullmatch(text.encode("utf-8", "surrogatepass"))
        assert parts is not None  # every part of the pattern may be empty
        scheme = parts["scheme"]
        if scheme is not None and scheme.lower() not in (b"http", b"https"):
            raise ValueError("its scheme must be http or https")
        wild, written = parts["wild"], parts["authority"]
        host, port = host_and_port(_ANY.encode() + written if wild == b"*" else written)
        if not _PREFIX.fullmatch(parts["prefix"]):
            raise ValueError("its prefix must be of visible ASCII characters, without ? and #")
        return Match(
            "" if wild == b"*" else host.removesuffix("."),
            wild is not None,
            "" if scheme is None else scheme.decode("ascii").lower(),
            port or 0,
            parts["prefix"].rstrip(b"/"),
        )

    def __str__(self) -> str:
        scheme = f"{self.scheme}://" if self.scheme else ""
        port = f":{self.port}" if self.port else ""
        wild = ("*." if self.host else "*") if self.is_wild else ""
        return f"{scheme}{wild}{bracketed(self.host)}{port}{self.prefix.decode('ascii')}"

    def is_for(self, destination: Destination) -> bool:
        """Say whether messages to a destination are meant, if their path is."""
        if self.scheme and self.scheme != destination.scheme:
            return False
        if self.port and self.port != destination.port:
            return False
        host = destination.host.removesuffix(".")
        if not self.is_wild:
            return host == self.host
        return not self.host or host.endswith(f".{self.host}")

    def covers(self, target: bytes) -> bool:
        """Say whether a request target, as it is sent, lies under the prefix."""
        prefix = self.prefix
        if not prefix:
            return True
        return target.startswith(prefix) and target[len(prefix) : len(prefix) + 1] in _ENDS

    def includes(self, other: Match) -> bool:
        """Say whether this one is for all that another one is for."""
        if self.scheme not in ("", other.scheme) or self.port not in (0, other.port):
            return False
        if other.prefix != self.prefix and not other.prefix.startswith(self.prefix + b"/"):
            return False
        return (self.host, self.is_wild) in other.wider_hosts()

    def wider_hosts(self) -> list[tuple[str, bool]]:
        """Host and `is_wild` of the matches whose hosts are this one's, or more."""
        found = [(self.host, self.is_wild)]
        rest = self.host
        while rest:
            rest = rest.partition(".")[2]
            found.append((rest, True))
        return found


_ENDS: Final = (b"", b"/", b"?")

"""What strangers and people are told of the server: at `/readyz` of `LISTEN`, and where to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.core.authority import authority
from dispatcher.settings import Address, UnixAddress


class PublicHealth:
    """What `LISTEN` says at `/readyz`: no details, as anybody can ask."""

    __slots__ = ("body", "status")

    def __init__(self, *, is_ready: bool) -> None:
        self.status = 200 if is_ready else 503
        self.body = b'{"status":"ready"}' if is_ready else b'{"status":"not ready"}'


PUBLIC_READY: Final = PublicHealth(is_ready=True)
PUBLIC_NOT_READY: Final = PublicHealth(is_ready=False)


_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where one listener is: a URL for this machine, the address of its page, and all that it
    listens on. A unix socket is named as the command line takes it."""

    url: str
    page: str
    shown: list[str]

    @staticmethod
    def of(
        address: Address | UnixAddress, bound: Sequence[tuple[str, int]], *, tls: bool
    ) -> Whereabouts:
        """Of what was set, and what it came to, as far as this process knows that."""
        if isinstance(address, UnixAddress):
            return Whereabouts(str(address), str(address), [str(address)])
        bound = bound or [(address.host, address.port)]
        url = _url_of(*bound[0], scheme="https" if tls else "http")
        return Whereabouts(url, f"{url}/", [authority(*one) for one in bound])


def _url_of(host: str, port: int, *, scheme: str) -> str:
    """Every interface includes loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "localhost", "": "localhost"}.get(host, host)
    return f"{scheme}://{authority(host, port)}".removesuffix(_DEFAULT_PORTS[scheme])

"""Which server an application talks to, and the key that it shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from dispatcher.sdk.written import API_KEY, API_URL, missing, written

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Server:
    """A server: `prefix` is the path before the paths of its API, without a slash at its end.

    `url_from` and `key_from` say where address and key come from, as messages name it. Without a
    key `key` is empty.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    key: str = field(default="", repr=False)
    url_from: str = "api_url=…"
    key_from: str = "api_key=…"

    @classmethod
    def found(
        cls,
        api_url: str | None = None,
        api_key: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Server:
        """Take the arguments, else DISPATCH_API_URL and DISPATCH_API_KEY. A server that has no keys
        needs none.

        Raises:
            ConfigError: the address is missing, or one of them is wrong. The message names argument
                or variable, and says what to write; it never quotes a key.
        """
        url = written(API_URL, api_url, environ)
        key = written(API_KEY, api_key, environ)
        address = url.url()
        if address is None:
            raise missing(API_URL, named=f'api_url="{API_URL.example}"')
        return cls.at(address, key.key(), url_from=url.source, key_from=key.source)

    @classmethod
    def at(cls, url: str, key: str | None, *, url_from: str, key_from: str) -> Server:
        """The server at a URL that was checked; see the class."""
        parts = urlsplit(url)
        return cls(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            prefix=parts.path.rstrip("/"),
            key=key or "",
            url_from=url_from,
            key_from=key_from,
        )

    @property
    def url(self) -> str:
        """Its address, as requests begin with it."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.prefix}"

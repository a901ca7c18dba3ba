"""Which server an application talks to, and the key that it shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from dispatcher.errors import ConfigError

URL_VARIABLE: Final = "DISPATCH_API_URL"
KEY_VARIABLE: Final = "DISPATCH_API_KEY"

_EXAMPLE: Final = "http://127.0.0.1:8081"
_URL: Final = f"the URL of the server's API, such as {_EXAMPLE}"
_KEY: Final = "the application's key, one of API_KEYS of the server"
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
        url, url_from = _chosen(api_url, "api_url", environ, URL_VARIABLE, _URL)
        key, key_from = _chosen(api_key, "api_key", environ, KEY_VARIABLE, _KEY)
        if url is None:
            raise ConfigError(
                f'{URL_VARIABLE} is not set: write {_URL}, or pass api_url="{_EXAMPLE}"; '
                "`dispatcher run -- COMMAND` sets it, and starts a server; other terminals type "
                "the line that it shows"
            )
        parts = _address(url, url_from)
        _check_key(key or "", key_from)
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


def _chosen(
    argument: str | None, name: str, environ: Mapping[str, str], variable: str, what: str
) -> tuple[str | None, str]:
    """What a setting is, without white space around it, and the name it was given by."""
    value, source, or_else = argument, f"{name}=…", "leave it away"
    if value is None:
        value, source, or_else = environ.get(variable), variable, "unset it"
    if value is None:
        return None, source
    if not isinstance(value, str):
        raise ConfigError(f"{source} is of type {type(value).__name__}: write {what}, a str")
    if not value.strip():
        raise ConfigError(f"{source} is empty: write {what}, or {or_else}")
    return value.strip(), source


def _address(text: str, name: str) -> SplitResult:
    wrong = ConfigError(f"{name} is {text!r}: write {_URL}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    if parts.username is not None:
        raise ConfigError(f"{name} has a password in it: write {_URL}; the key is {KEY_VARIABLE}")
    is_whole = parts.scheme in _PORTS and parts.hostname and port != 0
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if not is_whole or not is_plain or parts.query or parts.fragment:
        raise wrong
    return parts


def _check_key(key: str, name: str) -> None:
    if not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"{name} has characters that no header can hold (a line break, or not ASCII): "
            f"write {_KEY}"
        )

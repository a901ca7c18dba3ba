"""The settings of an application: from arguments, else from the environment.

    argument           variable                    what
    api_url            DISPATCH_API_URL            where calls are dispatched: the server's API
    api_key            DISPATCH_API_KEY            the application's key there
    endpoint_url       DISPATCH_ENDPOINT_URL       where the server reaches this application
    address            DISPATCH_ENDPOINT_ADDR      where it listens, HOST:PORT
    verification_key   DISPATCH_VERIFICATION_KEY   the server's public key; without it requests are
                                                   not verified

What is written wrongly is an error when the application is made; what is missing, where it is
needed: an application that only answers runs needs none of them. DISPATCH_CHECK=1, which
`dispatcher run --check` sets, has durable functions watched and replayed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.errors import ConfigError
from dispatcher.protocol.keys import KeyInvalid, read_verification_keys

DEFAULT_WARM: Final = 10_000
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""Hosts of this machine."""
_API_EXAMPLE: Final = "http://127.0.0.1:8081"
_ENDPOINT_EXAMPLE: Final = "http://127.0.0.1:8000"
_VARIABLES: Final = {
    "api_url": "DISPATCH_API_URL",
    "api_key": "DISPATCH_API_KEY",
    "endpoint_url": "DISPATCH_ENDPOINT_URL",
    "address": "DISPATCH_ENDPOINT_ADDR",
    "verification_key": "DISPATCH_VERIFICATION_KEY",
}
_RUN: Final = (
    "`dispatcher run -- COMMAND` sets it, and starts a server; other terminals type the line that "
    "it shows"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an application listens; port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of an application; None and () for those that are not there. URLs have no slash
    at their end. `api_url_from` and `api_key_from` say where these two were set, for messages about
    what the server says to them. `warm` is how many suspended calls it keeps in memory."""

    api_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    address: Address = Address("127.0.0.1", 8000)
    verification_keys: tuple[Ed25519PublicKey, ...] = ()
    warm: int = DEFAULT_WARM
    is_checked: bool = False
    api_url_from: str = "DISPATCH_API_URL"
    api_key_from: str = "DISPATCH_API_KEY"

    def where_api(self) -> str:
        """The URL of the server's API.

        Raises:
            ConfigError: it is not set.
        """
        if self.api_url is None:
            raise _missing("api_url", "the URL of the server's API", _API_EXAMPLE)
        return self.api_url

    def where_endpoint(self) -> str:
        """The URL at which the server reaches this application.

        Raises:
            ConfigError: it is not set.
        """
        if self.endpoint_url is None:
            what = "the URL at which the server reaches this application"
            raise _missing("endpoint_url", what, _ENDPOINT_EXAMPLE)
        return self.endpoint_url


def read_config(
    *,
    endpoint_url: str | None = None,
    api_url: str | None = None,
    api_key: str | None = None,
    verification_key: str | None = None,
    address: str | None = None,
    warm: int = DEFAULT_WARM,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the settings. An argument that is None is looked for in `environ` (os.environ).

    Raises:
        ConfigError: one of them is wrong. The message names the argument or variable, and says
            what to write; it never quotes a key.
    """
    given = {
        "api_url": api_url,
        "api_key": api_key,
        "endpoint_url": endpoint_url,
        "address": address,
        "verification_key": verification_key,
    }
    environ = os.environ if environ is None else environ
    said = _Said(given, environ)
    return Config(
        api_url=_api_url(said),
        api_url_from=said.where("api_url"),
        api_key=_api_key(said),
        api_key_from=said.where("api_key"),
        endpoint_url=_endpoint_url(said),
        address=_address(said),
        verification_keys=_verification_keys(said),
        warm=_warm(warm),
        is_checked=environ.get("DISPATCH_CHECK") == "1",
    )


class _Said:
    """Where a setting comes from."""

    def __init__(self, given: Mapping[str, object], environ: Mapping[str, str]) -> None:
        self._given = given
        self._environ = environ

    def where(self, argument: str) -> str:
        """The name by which a setting is given: the argument, or the variable."""
        is_given = self._given[argument] is not None
        return f"Dispatch({argument}=…)" if is_given else _VARIABLES[argument]

    def text(self, argument: str, what: str) -> tuple[str, str] | None:
        """Name and value of a setting, without white space around it; None: it is not set."""
        value, name = self._given[argument], self.where(argument)
        if value is None:
            value = self._environ.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise ConfigError(f"{name} is of type {type(value).__name__}: write {what}, a str")
        if not value.strip():
            or_else = "leave it away" if name.startswith("Dispatch(") else "unset it"
            raise ConfigError(f"{name} is empty: write {what}, or {or_else}")
        return name, value.strip()


def _api_url(said: _Said) -> str | None:
    what = f"the URL of the server's API, such as {_API_EXAMPLE}"
    found = said.text("api_url", what)
    return None if found is None else _url(*found, what, ("http", "https"))


def _endpoint_url(said: _Said) -> str | None:
    what = f"the URL at which the server reaches this application, such as {_ENDPOINT_EXAMPLE}"
    found = said.text("endpoint_url", what)
    return None if found is None else _url(*found, what, ("http", "https", "bridge"))


def _url(name: str, value: str, what: str, schemes: tuple[str, ...]) -> str:
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:  # a port that is none, a bracket that is not closed
        is_url = False
    if not is_url or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigError(f"{name} is {value!r}: write {what}")
    if parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"{name} has more than an address and a path: write {what}")
    return value.rstrip("/")


def _api_key(said: _Said) -> str | None:
    what = "the application's key, one of API_KEYS of the server"
    found = said.text("api_key", what)
    if found is None:
        return None
    name, value = found
    if not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"{name} has characters that no header can hold (a line break, or not ASCII): "
            f"write {what}"
        )
    return value


def _address(said: _Said) -> Address:
    what = "HOST:PORT where to listen, such as 127.0.0.1:8000, or :8000 for all addresses"
    found = said.text("address", what)
    if found is None:
        return Address("127.0.0.1", 8000)
    name, value = found
    host, colon, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    is_number = port.isascii() and port.isdigit() and int(port) <= 65_535
    if not colon or not is_number or "/" in host or " " in host:
        raise ConfigError(f"{name} is {value!r}: write {what}")
    return Address(host or "0.0.0.0", int(port))


def _verification_keys(said: _Said) -> tuple[Ed25519PublicKey, ...]:
    what = "what `dispatcher keys show` prints on the server"
    found = said.text("verification_key", what)
    if found is None:
        return ()
    name, value = found
    try:
        return read_verification_keys(value)
    except KeyInvalid as error:
        raise ConfigError(f"{name} is no public key: write {what} ({error})") from error


def _warm(warm: int) -> int:
    if type(warm) is not int or warm < 0:
        raise ConfigError(
            f"Dispatch(warm=…) is {warm!r}: write how many suspended calls to keep in memory, "
            "0 for none"
        )
    return warm


def _missing(argument: str, what: str, example: str) -> ConfigError:
    variable = _VARIABLES[argument]
    return ConfigError(
        f"{variable} is not set: write {what}, such as {example}, or pass "
        f'Dispatch({argument}="{example}"); {_RUN}'
    )

"""The settings of an application: from arguments, else from the environment (see `written`).

What is written wrongly is an error when the application is made; what is missing, where it is
needed: an application that only answers runs needs none of them. With DISPATCH_CHECK=watch, which
`dispatcher run` sets, durable functions are watched; with 1, by its `--check`, replayed as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.errors import ConfigError
from dispatcher.protocol.keys import KeyInvalid, read_verification_keys
from dispatcher.sdk.written import (
    ADDRESS,
    API_KEY,
    API_URL,
    ENDPOINT_URL,
    VERIFICATION_KEY,
    Setting,
    Written,
    missing,
    written,
)

DEFAULT_WARM: Final = 10_000
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""Hosts of this machine."""


class Check(Enum):
    """How durable functions are looked after as they run (`dispatcher.sdk.check`)."""

    NONE = auto()
    WATCH = auto()
    REPLAY = auto()


_CHECKS: Final = {"watch": Check.WATCH, "1": Check.REPLAY}


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
    check: Check = Check.NONE
    api_url_from: str = "DISPATCH_API_URL"
    api_key_from: str = "DISPATCH_API_KEY"

    def where_api(self) -> str:
        """The URL of the server's API.

        Raises:
            ConfigError: it is not set.
        """
        if self.api_url is None:
            raise _missing(API_URL)
        return self.api_url

    def where_endpoint(self) -> str:
        """The URL at which the server reaches this application.

        Raises:
            ConfigError: it is not set.
        """
        if self.endpoint_url is None:
            raise _missing(ENDPOINT_URL)
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
    environ = os.environ if environ is None else environ
    found = partial(written, environ=environ, named="Dispatch({}=…)")
    url, key = found(API_URL, api_url), found(API_KEY, api_key)
    return Config(
        api_url=url.url(),
        api_url_from=url.source,
        api_key=key.key(),
        api_key_from=key.source,
        endpoint_url=found(ENDPOINT_URL, endpoint_url).url(),
        address=_address(found(ADDRESS, address)),
        verification_keys=_verification_keys(found(VERIFICATION_KEY, verification_key)),
        warm=_warm(warm),
        check=_CHECKS.get(environ.get("DISPATCH_CHECK", ""), Check.NONE),
    )


def _address(found: Written) -> Address:
    if found.value is None:
        return Address("127.0.0.1", 8000)
    host, colon, port = found.value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    is_number = port.isascii() and port.isdigit() and int(port) <= 65_535
    if not colon or not is_number or "/" in host or " " in host:
        raise found.wrong
    return Address(host or "0.0.0.0", int(port))


def _verification_keys(found: Written) -> tuple[Ed25519PublicKey, ...]:
    if found.value is None:
        return ()
    try:
        return read_verification_keys(found.value)
    except KeyInvalid as error:
        raise ConfigError(
            f"{found.source} is no public key: write {found.setting.wanted} ({error})"
        ) from error


def _warm(warm: int) -> int:
    if type(warm) is not int or warm < 0:
        raise ConfigError(
            f"Dispatch(warm=…) is {warm!r}: write how many suspended calls to keep in memory, "
            "0 for none"
        )
    return warm


def _missing(setting: Setting) -> ConfigError:
    return missing(setting, named=f'Dispatch({setting.argument}="{setting.example}")')

"""Where the API and the listener are, and which key opens them.

Options win over the environment, and that over the settings in force. The settings are read only
when something is missing: reading them takes longer than most commands.

A key goes only to the server it belongs to. That of an option goes where the options say; that of
a variable (`DISPATCHER_KEY`) to the address of its variable (`DISPATCHER_API`), where that is set;
one of the settings only to the address of the settings. Else whoever is named by `--url` would be
told the key of another server.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dispatcher.cli.client import Api, Server
from dispatcher.cli.errors import BadUsage
from dispatcher.core.keys import Key, Role

if TYPE_CHECKING:  # loads pydantic
    from dispatcher.settings import Address, Settings

API_VARIABLE: Final = "DISPATCHER_API"
KEY_VARIABLE: Final = "DISPATCHER_KEY"
LISTENER_VARIABLE: Final = "DISPATCHER_LISTENER"
LISTENER_KEY_VARIABLE: Final = "DISPATCHER_LISTENER_KEY"
_CONFIG: Final = "DISPATCHER_CONFIG"


@dataclass(frozen=True, slots=True)
class _Door:
    """The names under which an address and its key are given, and the roles that it opens to, the
    most useful one first."""

    option: str
    variable: str
    setting: str
    key_option: str
    key_variable: str
    keys_setting: str
    roles: tuple[Role, ...]


_API: Final = _Door(
    "--url", API_VARIABLE, "API_LISTEN",
    "--key-file", KEY_VARIABLE, "API_KEYS", (Role.ADMIN, Role.READ),
)  # fmt: skip
_LISTENER: Final = _Door(
    "--listener", LISTENER_VARIABLE, "LISTEN",
    "--listener-key-file", LISTENER_KEY_VARIABLE, "LISTEN_KEYS", (Role.ADMIN, Role.DISPATCH),
)  # fmt: skip


def api(url: str | None, key_file: Path | None) -> Api:
    """Return the API as the options, the environment and the settings say.

    Raises:
        BadUsage: an address or a key that cannot be one.
        ConfigError: the settings were needed and are wrong.
    """
    return Api(*_find(_API, url, key_file))


def listener(url: str | None, key_file: Path | None) -> tuple[Server, str | None]:
    """Return where messages are accepted, and the key for it. Raises as `api`."""
    return _find(_LISTENER, url, key_file)


def _find(door: _Door, url: str | None, key_file: Path | None) -> tuple[Server, str | None]:
    given = os.environ.get(door.variable, "").strip()
    of_variable = Server.parse(given, door.variable) if given else None
    named = None if url is None else Server.parse(url, door.option)
    server = named or of_variable or _of_setting(door)
    return server, _key(door, server, of_variable, key_file)


def _of_setting(door: _Door) -> Server:
    address = _address(door, _settings())
    if not address.port:
        raise BadUsage(f"{door.setting}={address} is any free port: say which with {door.option}")
    return Server("http", _reachable(address.host), address.port)


def _reachable(host: str) -> str:
    """A wildcard can be listened on, not connected to."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _key(
    door: _Door, server: Server, of_variable: Server | None, key_file: Path | None
) -> str | None:
    if key_file is not None:
        return _checked(_read(key_file, door.key_option), door.key_option)
    given = os.environ.get(door.key_variable, "").strip()
    if given and of_variable in (None, server):
        return _checked(given, door.key_variable)
    if not any(map(os.environ.get, (door.keys_setting, f"{door.keys_setting}_FILE", _CONFIG))):
        return None
    settings = _settings()
    if not _is_at(server, _address(door, settings)):
        return None
    keys = settings.api_keys if door is _API else settings.listen_keys
    return _best(keys, door.roles)


def _settings() -> Settings:
    from dispatcher.settings import Settings

    return Settings.load(os.environ)


def _address(door: _Door, settings: Settings) -> Address:
    return settings.api_listen if door is _API else settings.listen


def _is_at(server: Server, address: Address) -> bool:
    """Say whether a server is the one that listens on an address, on this machine."""
    if server.scheme != "http" or server.port != address.port:
        return False
    host = _reachable(address.host)
    return server.host == host or (_is_loopback(server.host) and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _best(keys: Iterable[Key], roles: tuple[Role, ...]) -> str | None:
    fitting = [key for key in keys if key.role in roles]
    fitting.sort(key=lambda key: roles.index(key.role))
    return fitting[0].secret.decode("ascii") if fitting else None


def _read(file: Path, option: str) -> str:
    try:
        lines = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not ASCII"
        raise BadUsage(f"{option} {file}: {reason}; expected a file with one key in it") from None
    if len(lines) != 1:
        raise BadUsage(f"{option} {file}: expected a file with one key in it")
    return lines[0]


def _checked(key: str, source: str) -> str:
    """The key itself is never shown."""
    if not key.isascii() or not key.isprintable():
        raise BadUsage(f"{source} (value hidden): expected printable ASCII characters")
    return key

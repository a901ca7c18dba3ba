"""Where the API and the listener are, and which key opens them.

Options win over the environment, that over what `dispatcher login` has kept, and that over the
settings in force; those that the environment names (`API_LISTEN`, `DISPATCHER_CONFIG`) are of the
environment. They are read only when something is missing: that takes longer than most commands.

A key goes only to the server it belongs to. That of an option goes where the options say; that of
a variable (`DISPATCHER_KEY`) to the address of its variable (`DISPATCHER_API`), where that is set;
that of the login to the login's; one of the settings only to the address of the settings. Else
whoever is named by `--url` would be told the key of another server.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dispatcher.cli import logins
from dispatcher.cli.address import CA_VARIABLE, UNIX, Server, Trust
from dispatcher.cli.client import Api
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.logins import Login
from dispatcher.core.keys import Key, Role

if TYPE_CHECKING:  # loads pydantic
    from dispatcher.settings import Settings

API_VARIABLE: Final = "DISPATCHER_API"
KEY_VARIABLE: Final = "DISPATCHER_KEY"
LISTENER_VARIABLE: Final = "DISPATCHER_LISTENER"
LISTENER_KEY_VARIABLE: Final = "DISPATCHER_LISTENER_KEY"
_CONFIG: Final = "DISPATCHER_CONFIG"


@dataclass(frozen=True, slots=True)
class _Door:
    """The names under which an address and its key are given, the roles that it opens to, the most
    useful one first, the setting that makes it TLS, and the port of loopback where it is when
    nothing is set."""

    option: str
    variable: str
    setting: str
    key_option: str
    key_variable: str
    keys_setting: str
    roles: tuple[Role, ...]
    certificate_setting: str
    default_port: int


_API: Final = _Door(
    "--url", API_VARIABLE, "API_LISTEN",
    "--key-file", KEY_VARIABLE, "API_KEYS", (Role.ADMIN, Role.READ),
    "API_TLS_CERT", 8081,
)  # fmt: skip
_LISTENER: Final = _Door(
    "--listener", LISTENER_VARIABLE, "LISTEN",
    "--listener-key-file", LISTENER_KEY_VARIABLE, "LISTEN_KEYS", (Role.ADMIN, Role.DISPATCH),
    "LISTEN_TLS_CERT", 80,
)  # fmt: skip


def api(url: str | None, key_file: Path | None) -> Api:
    """Return the API as the options, the environment and the settings say.

    Raises:
        BadUsage: an address or a key that cannot be one.
        ConfigError: the settings were needed and are wrong.
    """
    return Api(*_find(_API, url, key_file))


def application(url: str, key_file: Path | None) -> tuple[Server, str | None]:
    """Return the API that an application is to use, by `--api-url`, and its key: that of the file,
    of DISPATCH_API_KEY (unless DISPATCH_API_URL says that it is another's), of DISPATCHER_KEY, or
    of the login there.

    Raises:
        BadUsage: an address or a key that cannot be one.
    """
    server = trusting(Server.parse(url, "--api-url"))
    if server.scheme == "unix":
        raise BadUsage("--api-url: expected http:// or https://, as applications connect to it")
    its = os.environ.get("DISPATCH_API_URL", "").strip()
    is_its = not its or Server.parse(its, "DISPATCH_API_URL") == server
    key = os.environ.get("DISPATCH_API_KEY", "").strip()
    if key_file is None and key and is_its:
        return server, checked_key(key, "DISPATCH_API_KEY")
    return server, _find(_API, url, key_file)[1]


def listener(url: str | None, key_file: Path | None) -> tuple[Server, str | None]:
    """Return where messages are accepted, and the key for it. Raises as `api`."""
    return _find(_LISTENER, url, key_file)


def key_in(file: Path, option: str = _API.key_option) -> str:
    """Return the key in a file.

    Raises:
        BadUsage: it can't be read, or has none, or more than one.
    """
    return checked_key(_read(file, option), option)


def checked_key(key: str, source: str) -> str:
    """Return a key that can be one, or nothing. The key itself is never shown.

    Raises:
        BadUsage: naming where it came from.
    """
    if not key.isascii() or not key.isprintable():
        raise BadUsage(f"{source} (value hidden): expected printable ASCII characters")
    return key


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _find(door: _Door, url: str | None, key_file: Path | None) -> tuple[Server, str | None]:
    given = os.environ.get(door.variable, "").strip()
    of_variable = Server.parse(given, door.variable) if given else None
    named = (None if url is None else Server.parse(url, door.option)) or of_variable
    needs_login = door is _API and (named is None or not _is_keyed(door, key_file))
    login = logins.load() if needs_login else None
    if named is None and login is not None and not _has_settings(door):
        named = login.server
    server = named or _of_setting(door)
    return trusting(server), _key(door, server, of_variable, key_file, login)


def trusting(server: Server) -> Server:
    """The same server, with the authorities that the environment names."""
    file = os.environ.get(CA_VARIABLE, "").strip()
    return replace(server, trust=Trust(Path(file))) if file else server


def _is_keyed(door: _Door, key_file: Path | None) -> bool:
    return key_file is not None or bool(os.environ.get(door.key_variable, "").strip())


def _has_settings(door: _Door) -> bool:
    return any(map(os.environ.get, (door.setting, _CONFIG)))


def _of_setting(door: _Door) -> Server:
    """The server of the settings.

    Raises:
        BadUsage: they do not say where it is.
    """
    if not any(map(os.environ.get, (door.setting, door.certificate_setting, _CONFIG))):
        return Server("http", "127.0.0.1", door.default_port)  # loading them takes a while
    found = _server_in(door, _settings())
    if found.scheme != "unix" and not found.port:
        raise BadUsage(f"{door.setting} is any free port: say which with {door.option}")
    return found


def _server_in(door: _Door, settings: Settings) -> Server:
    """The server that settings say; its port is 0 where they name none."""
    is_api = door is _API
    address = settings.api_listen if is_api else settings.listen
    certificate = settings.api_tls_cert if is_api else settings.listen_tls_cert
    text = str(address)
    if text.startswith(UNIX):
        return Server.parse(text, door.setting)
    host, _, port = text.rpartition(":")
    host = _reachable(host.strip("[]"))
    if certificate is None:
        return Server("http", host, int(port))
    # It is for the name that others know the server by; here it is enough that it is the same.
    return Server("https", host, int(port), trust=Trust(certificate, is_own=True))


def _reachable(host: str) -> str:
    """A wildcard can be listened on, not connected to."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _key(
    door: _Door,
    server: Server,
    of_variable: Server | None,
    key_file: Path | None,
    login: Login | None,
) -> str | None:
    if key_file is not None:
        return key_in(key_file, door.key_option)
    given = os.environ.get(door.key_variable, "").strip()
    if given and of_variable in (None, server):
        return checked_key(given, door.key_variable)
    if login is not None and login.server == server:
        return login.key
    if not any(map(os.environ.get, (door.keys_setting, f"{door.keys_setting}_FILE", _CONFIG))):
        return None
    settings = _settings()
    if not _is_same(server, _server_in(door, settings)):
        return None
    keys = settings.api_keys if door is _API else settings.listen_keys
    return _best(keys, door.roles)


def _settings() -> Settings:
    from dispatcher.settings import Settings

    return Settings.load(os.environ)


def _is_same(server: Server, own: Server) -> bool:
    """Say whether a server is the one that settings say, on this machine."""
    if (server.scheme, server.port) != (own.scheme, own.port):
        return False
    return server.host == own.host or (is_loopback(server.host) and is_loopback(own.host))


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

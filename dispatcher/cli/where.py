"""Where the API and the listener are, and which key opens them.

Options win over the environment, and that over the settings in force. The settings are read only
when something is missing: reading them takes longer than most commands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dispatcher.cli.client import Api, Server
from dispatcher.cli.errors import BadUsage

API_VARIABLE = "DISPATCHER_API"
KEY_VARIABLE = "DISPATCHER_KEY"
LISTENER_VARIABLE = "DISPATCHER_LISTENER"
LISTENER_KEY_VARIABLE = "DISPATCHER_LISTENER_KEY"


def api(url: str | None, key_file: Path | None) -> Api:
    """Return the API as the options, the environment and the settings say.

    Raises:
        BadUsage: an address or a key that cannot be one.
        ConfigError: the settings were needed and are wrong.
    """
    return Api(
        _server(url, "--url", API_VARIABLE, "API_LISTEN"),
        _key(key_file, "--key-file", KEY_VARIABLE, "API_KEYS"),
    )


def listener(url: str | None, key_file: Path | None) -> tuple[Server, str | None]:
    """Return where messages are accepted, and the key for it. Raises as `api`."""
    return (
        _server(url, "--listener", LISTENER_VARIABLE, "LISTEN"),
        _key(key_file, "--listener-key-file", LISTENER_KEY_VARIABLE, "LISTEN_KEYS"),
    )


def _server(url: str | None, option: str, variable: str, setting: str) -> Server:
    if url is not None:
        return Server.parse(url, option)
    if given := os.environ.get(variable, "").strip():
        return Server.parse(given, variable)
    return _of_setting(setting, option)


def _of_setting(setting: str, option: str) -> Server:
    from dispatcher.settings import Settings

    settings = Settings.load(os.environ)
    address = settings.api_listen if setting == "API_LISTEN" else settings.listen
    if not address.port:
        raise BadUsage(f"{setting}={address} is any free port: say which with {option}")
    return Server("http", _reachable(address.host), address.port)


def _reachable(host: str) -> str:
    """A wildcard can be listened on, not connected to."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _key(file: Path | None, option: str, variable: str, setting: str) -> str | None:
    if file is not None:
        return _checked(_read(file, option), option)
    if given := os.environ.get(variable, "").strip():
        return _checked(given, variable)
    return _first_of(setting) if _may_be_set(setting, os.environ) else None


def _may_be_set(setting: str, environ: Mapping[str, str]) -> bool:
    return bool(environ.get(setting) or environ.get("DISPATCHER_CONFIG"))


def _first_of(setting: str) -> str | None:
    from dispatcher.settings import Settings

    settings = Settings.load(os.environ)
    keys = settings.api_keys if setting == "API_KEYS" else settings.listen_keys
    return keys[0].decode("ascii") if keys else None


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

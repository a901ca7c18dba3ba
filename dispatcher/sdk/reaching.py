"""How an application and its server reach each other, by the application's settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from dispatcher.sdk.client.server import Server
from dispatcher.sdk.config import LOOPBACK, Config


def can_ask(config: Config) -> bool:
    """Return whether it is known where the server is, and who this is there: without a key nobody
    is but by loopback, where a server may have none."""
    if config.api_url is None:
        return False
    return config.api_key is not None or urlsplit(config.api_url).hostname in LOOPBACK


def server_of(config: Config) -> Server:
    """Return the server.

    Raises:
        ConfigError: nothing says which.
    """
    return Server.at(
        config.where_api(),
        config.api_key,
        url_from=config.api_url_from,
        key_from=config.api_key_from,
    )


def open_at(config: Config) -> str | None:
    """Return the URL at which anybody on a network could run the functions, None if nobody can."""
    url = config.endpoint_url
    if url is None or config.verification_keys:
        return None
    parts = urlsplit(url)
    return None if parts.scheme == "bridge" or parts.hostname in LOOPBACK else url

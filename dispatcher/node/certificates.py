"""The certificates of the listeners: which settings name them, and when they are read."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from dispatcher.apart import apart
from dispatcher.core.instants import rfc3339
from dispatcher.errors import ConfigError
from dispatcher.listening.certificate import Certificate, read_certificate
from dispatcher.listening.tls import Secured
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events

LISTEN: Final = "LISTEN"
API: Final = "API"


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the certificate of a listener is, and what it is named in settings."""

    listener: str
    cert: Path
    key: Path

    def read(self) -> Certificate:
        """As `read_certificate`."""
        return read_certificate(self.listener, self.cert, self.key)


def check(settings: Settings) -> list[str]:
    """Read all certificates once; return a sentence for each that is not valid now.

    Raises:
        ConfigError: naming those that cannot be used.
    """
    found, outdated = [], []
    for files in _named_in(settings):
        try:
            certificate = files.read()
        except ConfigError as error:
            found.append(str(error))
            continue
        if not certificate.is_valid(time.time()):
            begins, ends = _dates(certificate)
            outdated.append(
                f"{files.listener}_TLS_CERT={files.cert} is valid from {begins} to {ends}, and not "
                "now: who connects refuses it."
            )
    if found:
        raise ConfigError("; ".join(found))
    return outdated


def _named_in(settings: Settings) -> Iterator[_Files]:
    for listener, cert, key in (
        (LISTEN, settings.listen_tls_cert, settings.listen_tls_key),
        (API, settings.api_tls_cert, settings.api_tls_key),
    ):
        if cert is not None and key is not None:
            yield _Files(listener, cert, key)


class Certificates:
    """The certificates of one server; `of` gives what secures a listener, None where nothing
    does."""

    def __init__(self, settings: Settings, events: Events) -> None:
        """Read them.

        Raises:
            ConfigError: one cannot be used.
        """
        self._events = events
        self._files = {files.listener: files for files in _named_in(settings)}
        self._secured = {
            listener: Secured(files.read(), partial(_tell, events, listener.lower()))
            for listener, files in self._files.items()
        }
        for listener, secured in self._secured.items():
            self._warn(listener, secured.certificate)

    def of(self, listener: str) -> Secured | None:
        """What secures this listener."""
        return self._secured.get(listener)

    def files(self) -> Mapping[str, Callable[[], Awaitable[bool]]]:
        """What reads each of them again, by the name of its setting: see `Reloading`."""
        return {f"{one}_TLS_CERT": partial(self._load, one) for one in self._secured}

    async def _load(self, listener: str) -> bool:
        """Read one again, and say whether it has changed.

        Raises:
            ConfigError: it cannot be used; the old one stays.
        """
        secured = self._secured[listener]
        found = await apart(self._files[listener].read, name="certificate")
        self._warn(listener, found)
        if found.content == secured.certificate.content:
            return False
        secured.replace(found)
        return True

    def _warn(self, listener: str, certificate: Certificate) -> None:
        """It is shown all the same: it may be the clock of this machine that is wrong, and there
        are those who do not look."""
        if not certificate.is_valid(time.time()):
            begins, ends = _dates(certificate)
            self._events.certificate_not_valid(
                listener=listener.lower(),
                path=str(self._files[listener].cert),
                valid_from=begins,
                valid_until=ends,
            )

    def failed(self) -> Mapping[str, int]:
        """Handshakes that failed since the start, by their reason."""
        found: dict[str, int] = {}
        for secured in self._secured.values():
            for reason, count in secured.failed.items():
                found[reason] = found.get(reason, 0) + count
        return found

    def expire_at_s(self) -> Mapping[str, int]:
        """When they expire, in seconds since the epoch, by listener."""
        return {one.lower(): it.certificate.expires_at_s for one, it in self._secured.items()}


def _dates(certificate: Certificate) -> tuple[str, str]:
    """The first and the last instant at which it is valid, in RFC 3339."""
    first, last = certificate.begins_at_s, certificate.expires_at_s
    return rfc3339(first * 1_000_000), rfc3339(last * 1_000_000)


def _tell(events: Events, listener: str, reason: str, detail: str, address: str) -> None:
    events.handshake_failed(listener=listener, reason=reason, detail=detail, address=address)

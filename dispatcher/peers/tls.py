"""TLS between nodes: each shows the other a certificate of the cluster's own authority.

The other side's certificate has to be valid for the host that this one connects to; who connects
shows one too, and its name does not matter: which member it is says the handshake's key and the
first frame.

A certificate that the others would refuse is refused here, when it is read: they would learn of it
from connections that fail, one after the other. Its dates alone are not looked at: a node whose
certificate has expired still does what it can by itself.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError
from dispatcher.listening.certificate import Certificate, read_certificate
from dispatcher.listening.tls import FailedHandshake, Secured

_LISTENER: Final = "CLUSTER"
_DATES: Final = frozenset((9, 10))
"""OpenSSL's `X509_V_ERR_CERT_NOT_YET_VALID` and `X509_V_ERR_CERT_HAS_EXPIRED`."""
_FLIGHTS: Final = 4
"""Of a handshake, both ways: more than there are."""


class Mutual:
    """Certificate and authority of one node, as both sides of connections need them. `told` may be
    set: it hears of TLS that failed."""

    def __init__(self, ca: Path, cert: Path, key: Path, *, host: str) -> None:
        """Read the files. `host` is where others connect to this node. Blocks.

        Raises:
            ConfigError: naming the setting, the file, and what is wrong.
        """
        self._files = (ca, cert, key)
        self._host = host
        self.told: FailedHandshake | None = None
        accepting, connecting = self._read()
        self.accepting = Secured(accepting, self._tell)
        self.connecting = Secured(connecting, self._tell)

    @property
    def certificate(self) -> Certificate:
        """The one that others are shown."""
        return self.accepting.certificate

    def load(self) -> bool:
        """Read the files again; say whether they have changed. Connections that there are go on.
        Blocks.

        Raises:
            ConfigError: they cannot be used; the old ones stay.
        """
        accepting, connecting = self._read()
        if accepting.content == self.certificate.content:
            return False
        self.accepting.replace(accepting)
        self.connecting.replace(connecting)
        return True

    def _tell(self, reason: str, detail: str, address: str) -> None:
        if self.told is not None:
            self.told(reason, detail, address)

    def _read(self) -> tuple[Certificate, Certificate]:
        ca, cert, key = self._files
        accepting, connecting = (
            read_certificate(_LISTENER, cert, key, protocol)
            for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
        )
        try:
            authority = ca.read_text("ascii")
            for context in (accepting.context, connecting.context):
                context.load_verify_locations(cadata=authority)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ConfigError(
                f"{_LISTENER}_TLS_CA={ca}: {reason or 'no PEM'}; expected the certificate of the "
                "authority that has issued those of all nodes, PEM"
            ) from error
        accepting.context.verify_mode = ssl.CERT_REQUIRED
        refused = _refused(accepting.context, connecting.context, self._host)
        if refused is not None:
            raise ConfigError(
                f"{_LISTENER}_TLS_CERT={cert}: other nodes would refuse it ({refused}); expected a "
                f"certificate for {self._host}, where they connect to (CLUSTER_ADVERTISE), for "
                f"servers and for clients, which an authority in CLUSTER_TLS_CA={ca} has issued"
            )
        content = accepting.content + authority.encode("ascii")
        return replace(accepting, content=content), replace(connecting, content=content)


def _refused(accepting: ssl.SSLContext, connecting: ssl.SSLContext, host: str) -> str | None:
    """Have both sides of a connection meet in memory: why one refuses the other's certificate."""
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        connecting.wrap_bio(here, there, server_hostname=host),
        accepting.wrap_bio(there, here, server_side=True),
    )
    for _ in range(_FLIGHTS):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return None if error.verify_code in _DATES else str(error.verify_message)
    return None

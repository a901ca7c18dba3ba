"""From the settings to what a node is told of its cluster."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError
from dispatcher.node.clustering.config import ClusterConfig, MutualFiles
from dispatcher.settings import Address, Settings
from dispatcher.txlog.nats.access import Access

_PARTS: Final = ("NATS USER JWT", "USER NKEY SEED")
_FILE: Final = "a file with a user's JWT and its NKey seed, as `nsc generate creds` writes it"


def config_of(settings: Settings) -> ClusterConfig:
    """Of a node with CLUSTER. Reads the files that NATS lets it in with.

    Raises:
        ConfigError: they cannot be used.
    """
    node = settings.node or socket.gethostname()
    advertise = settings.cluster_advertise or Address(node, settings.cluster_listen.port)
    servers = settings.cluster
    return ClusterConfig(
        servers=[one.url for one in servers],
        access=access_of(settings),
        monitoring=settings.cluster_monitoring or [one.monitoring for one in servers],
        partitions=settings.partitions,
        node=node,
        listen=settings.cluster_listen,
        advertise=str(advertise),
        key=settings.cluster_key,
        quota_bytes=settings.cluster_quota_bytes,
        tls=_tls_of_nodes(settings),
    )


def access_of(settings: Settings) -> Access:
    """How NATS servers let this node in, as the files that say so are now.

    Raises:
        ConfigError: they cannot be used.
    """
    users = [one for one in settings.cluster if one.user is not None]
    user, password = (users[0].user, users[0].password) if users else (None, None)
    has_tls = settings.cluster[0].scheme == "tls"
    tls = _tls_of_nats(settings) if has_tls else None
    return Access(user, password, _credentials(settings.cluster_credentials), tls)


def _credentials(path: Path | None) -> str | None:
    """What is in the file. The client would look for ever for what is not in it."""
    if path is None:
        return None
    try:
        text = path.read_text("ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"CLUSTER_CREDENTIALS={path}: {reason}; expected {_FILE}") from error
    if not all(re.search(f"BEGIN {part}-+\\s+\\S", text) for part in _PARTS):
        raise ConfigError(f"CLUSTER_CREDENTIALS={path}: expected {_FILE}")
    return text


def _tls_of_nats(settings: Settings) -> ssl.SSLContext:
    """With the authority of the nodes' certificates, where there is one, and this node's own."""
    files = _tls_of_nodes(settings)
    if files is None:
        return ssl.create_default_context()
    try:
        context = ssl.create_default_context(cafile=files.ca)
        context.load_cert_chain(files.cert, files.key)
    except OSError as error:  # of OpenSSL too
        raise ConfigError(
            f"CLUSTER_TLS_CA={files.ca}, CLUSTER_TLS_CERT={files.cert}, CLUSTER_TLS_KEY="
            f"{files.key}: cannot be used for NATS: {error.strerror or error}"
        ) from error
    return context


def _tls_of_nodes(settings: Settings) -> MutualFiles | None:
    ca, cert, key = (
        settings.cluster_tls_ca,
        settings.cluster_tls_cert,
        settings.cluster_tls_key,
    )
    if ca is None or cert is None or key is None:
        return None
    return MutualFiles(ca, cert, key)

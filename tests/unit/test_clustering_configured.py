"""From the settings to what a node is told of its cluster."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trustme

from dispatcher.errors import ConfigError
from dispatcher.node.clustering.config import ClusterConfig, MutualFiles
from dispatcher.node.clustering.configured import config_of
from dispatcher.settings import Settings
from dispatcher.testing.nats_accounts import make_accounts

SERVERS = "nats://a:1,nats://b,nats://c"


def configured(**environ: str) -> ClusterConfig:
    """With what a cluster needs."""
    return config_of(
        Settings.load({"CLUSTER": SERVERS, "CLUSTER_KEY": "0123456789abcdef"} | environ)
    )


def test_what_is_not_said_follows_from_the_rest() -> None:
    """The name of the machine is the node's, and where the others reach it."""
    config = configured()
    assert config.servers == ["nats://a:1", "nats://b:4222", "nats://c:4222"]
    assert config.monitoring == ["http://a:8222", "http://b:8222", "http://c:8222"]
    assert config.node == socket.gethostname()
    assert config.advertise == f"{socket.gethostname()}:8082"
    assert config.replicas == 3
    assert config.tls is None
    assert config.access.tls is None


def test_what_is_said_is_taken() -> None:
    """Each by itself."""
    config = configured(
        NODE="one",
        CLUSTER_LISTEN="127.0.0.1:9",
        CLUSTER_MONITORING="http://a:2",
        CLUSTER_QUOTA="1GB",
        PARTITIONS="5",
    )
    assert (config.node, config.advertise) == ("one", "one:9")
    assert config.monitoring == ("http://a:2",)
    assert config.quota_bytes == 10**9
    assert config.partitions == 5
    assert configured(NODE="one", CLUSTER_ADVERTISE="[::1]:7").advertise == "[::1]:7"


def test_user_of_any_server_is_that_of_all() -> None:
    """And addresses have none any more: they are shown."""
    config = configured(CLUSTER="nats://a,nats://shop:sesame@b")
    assert config.servers == ["nats://a:4222", "nats://b:4222"]
    assert (config.access.user, config.access.password) == ("shop", "sesame")
    assert "sesame" not in repr(config)


def test_credentials_are_read(tmp_path: Path) -> None:
    """And not shown."""
    file = make_accounts(tmp_path).credentials
    config = configured(CLUSTER_CREDENTIALS=str(file))
    assert config.access.credentials == file.read_text()
    assert "BEGIN" not in repr(config)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff", b"-----BEGIN NATS USER JWT-----\n", b"-----BEGIN NATS USER JWT-----\nx\n"],
)
def test_file_without_credentials_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """The client would wait for ever for what is not in it."""
    file = tmp_path / "user.creds"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"CLUSTER_CREDENTIALS={file}: .*nsc generate creds"):
        configured(CLUSTER_CREDENTIALS=str(file))


def test_certificates_are_for_nodes_and_for_nats(tmp_path: Path) -> None:
    """One authority for both."""
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority = trustme.CA()
    issued = authority.issue_cert("a")
    authority.cert_pem.write_to_path(files["ca"])
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    settings = {f"CLUSTER_TLS_{name.upper()}": str(path) for name, path in files.items()}
    config = configured(**settings)
    assert config.tls == MutualFiles(**files)
    assert config.access.tls is None, "nats:// is plain"
    config = configured(CLUSTER="tls://a,tls://b,tls://c", **settings)
    assert config.access.tls is not None
    assert len(config.access.tls.get_ca_certs()) == 1
    files["key"].write_text("none")
    with pytest.raises(ConfigError, match="CLUSTER_TLS_KEY="):
        configured(CLUSTER="tls://a", **settings)

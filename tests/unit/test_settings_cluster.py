"""Settings of a cluster: what they are, and every way to get them wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dispatcher.errors import ConfigError
from dispatcher.settings import Address, Settings

SERVERS = "nats://a:4222,nats://b:4222,nats://c:4222"
KEY = "0123456789abcdef"
CLUSTER = {"CLUSTER": SERVERS, "CLUSTER_KEY": KEY}


def refusal(environ: Mapping[str, str]) -> str:
    """Load settings that are wrong, and return what is said about them."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ)
    return str(caught.value)


def test_cluster_needs_its_servers_and_a_key() -> None:
    """Everything else has a default."""
    settings = Settings.load(CLUSTER)
    assert [one.url for one in settings.cluster] == SERVERS.split(",")
    assert settings.cluster_key == KEY.encode()
    assert settings.partitions == 16
    assert settings.cluster_listen == Address("", 8082)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("nats://a", "nats://a:4222"),
        ("nats://a:1/", "nats://a:1"),
        (" tls://n1.example.com:4222 ", "tls://n1.example.com:4222"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("nats://192.0.2.7", "nats://192.0.2.7:4222"),
    ],
)
def test_server_is_read_when_it_is_a_url_of_nats(text: str, url: str) -> None:
    """Its port is that of NATS unless it says another."""
    (server,) = Settings.load(CLUSTER | {"CLUSTER": text}).cluster
    assert server.url == url
    assert server.user is None


@pytest.mark.parametrize(
    "text",
    ["a:4222", "http://a:4222", "nats://", "nats://a:0", "nats://a:99999", "nats://a:x",
     "nats://a/b", "nats://a?b", "nats://a,,nats://b", "nats://user@a", "nats://a b",
     "nats://u:p@a,nats://v:p@b", "nats://a,tls://b", "nats://[::1"],
)  # fmt: skip
def test_server_is_refused_when_it_is_anything_else(text: str) -> None:
    """What is said shows no password."""
    said = refusal(CLUSTER | {"CLUSTER": text})
    assert said.startswith("CLUSTER=")
    assert "nats://user:password@host:port" in said
    assert "u:p@" not in said


def test_user_of_one_address_is_that_of_all_and_is_not_shown() -> None:
    """Escaped as in every URL."""
    settings = Settings.load(CLUSTER | {"CLUSTER": "nats://shop:s%40same@a,nats://b"})
    assert settings.cluster[0].user == "shop"
    assert settings.cluster[0].password == "s@same"
    assert settings.describe()["CLUSTER"] == ["nats://a:4222", "nats://b:4222"]
    assert "same" not in f"{settings!r} {settings.describe()}"


def test_key_is_never_shown(tmp_path: Path) -> None:
    """Neither as it is nor where it is wrong; it may be in a file."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    settings = Settings.load({"CLUSTER": SERVERS, "CLUSTER_KEY_FILE": str(file)})
    assert settings.cluster_key == KEY.encode()
    assert settings.describe()["CLUSTER_KEY"] == "hidden"
    assert KEY not in f"{settings!r} {settings.changed()}"
    said = refusal(CLUSTER | {"CLUSTER_KEY": "too short"})
    assert "CLUSTER_KEY (value hidden) (also CLUSTER_KEY_FILE)" in said
    assert "too short" not in said


@pytest.mark.parametrize("key", ["x" * 15, "with a blank 0123", "two,of,them,01234567", "é" * 16])
def test_key_is_refused_when_it_is_short_or_not_one(key: str) -> None:
    """A file with two lines is none."""
    assert "at least 16 printable" in refusal(CLUSTER | {"CLUSTER_KEY": key})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NODE", "a b", "a name of 1 to 64"),
        ("NODE", "x" * 65, "a name of 1 to 64"),
        ("CLUSTER_ADVERTISE", ":8082", "host:port"),
        ("CLUSTER_ADVERTISE", "a:0", "host:port"),
        ("CLUSTER_ADVERTISE", "0.0.0.0:8082", "host:port"),
        ("CLUSTER_ADVERTISE", "[::]:8082", "host:port"),
        ("CLUSTER_LISTEN", "unix:/x", "host:port"),
        ("CLUSTER_MONITORING", "a:8222", "http://host:port"),
        ("CLUSTER_MONITORING", "http://a:8222/varz", "http://host:port"),
        ("CLUSTER_MONITORING", "http://a:x", "http://host:port"),
        ("PARTITIONS", "0", "from 1 to 256"),
        ("PARTITIONS", "257", "from 1 to 256"),
        ("CLUSTER_QUOTA", "1MiB", "from 16777216"),
    ],
)
def test_value_of_a_cluster_is_refused_with_what_is_expected(
    name: str, value: str, expected: str
) -> None:
    """As of every setting."""
    said = refusal(CLUSTER | {name: value})
    assert said.startswith(f"{name}={value}: expected")
    assert expected in said


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PROCESSES": "2"}, "PROCESSES=2: expected 1"),
        ({"PROCESSES": "0"}, "PROCESSES=0: expected 1"),
        ({"EVENT_SOURCING": "yes"}, "EVENT_SOURCING=true: expected false"),
        ({"CLUSTER_KEY": ""}, "CLUSTER_KEY: expected a secret"),
        ({"CLUSTER_TLS_CA": "ca.pem"}, "CLUSTER_TLS_CA=ca.pem: expected"),
        ({"CLUSTER_TLS_CERT": "c.pem", "CLUSTER_TLS_KEY": "k.pem"}, "CLUSTER_TLS_CERT=c.pem"),
        ({"CLUSTER_LISTEN": ":80"}, "CLUSTER_LISTEN=:80: expected another address than LISTEN"),
        ({"CLUSTER_LISTEN": ":0"}, "CLUSTER_LISTEN=:0: expected a port, or CLUSTER_ADVERTISE"),
    ],
)
def test_cluster_is_refused_with_what_it_cannot_have(environ: dict[str, str], said: str) -> None:
    """And it says what to do."""
    assert said in refusal({"WORKER": "10"} | CLUSTER | environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLUSTER_KEY", KEY),
        ("CLUSTER_LISTEN", ":1"),
        ("CLUSTER_ADVERTISE", "a:1"),
        ("CLUSTER_QUOTA", "2GiB"),
        ("CLUSTER_CREDENTIALS", "file"),
        ("CLUSTER_MONITORING", "http://a:1"),
        ("PARTITIONS", "8"),
    ],
)
def test_setting_of_a_cluster_is_refused_without_one(name: str, value: str) -> None:
    """It would have no effect, and its owner thinks that logs are on several machines."""
    said = refusal({name: value})
    assert said.startswith(f"{name}: expected CLUSTER too")
    assert KEY not in said

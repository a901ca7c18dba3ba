"""Egress: where messages never go. Nothing here ever leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import accept, dead, metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, post

NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254",
    "[fe80::1]:80",
    "[::ffff:169.254.169.254]:80",
    "[::ffff:a9fe:a9fe]:80",
    "[64:ff9b::a9fe:a9fe]:80",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.16689662",
    "0.0.0.0",
    "0",
    "[::]:80",
    "[::ffff:0.0.0.0]:80",
    "224.0.0.1",
    "239.255.255.250:1900",
    "255.255.255.255",
    "[ff02::1]:80",
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "[fc00::1]:80", "[::1]:1", "127.0.0.1:1"]


def denied(server: ServerProcess, authority: str) -> None:
    """A message for this destination becomes a dead letter at once."""
    before = metrics(server)["dispatcher_messages_dead_total"]
    number = ask(server.listen, post(authority)).id
    event = dead(server, number)
    assert event["reason"] == "egress_denied"
    assert event["attempts"] <= 1
    assert event["last_status"] is None
    assert metrics(server)["dispatcher_messages_dead_total"] == before + 1


@contextmanager
def serving(directory: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server with egress rules."""
    with ServerProcess(directory, **quick(**settings)) as server:
        yield server


@pytest.mark.parametrize("authority", NEVER)
def test_special_addresses_are_never_connected_to(server: ServerProcess, authority: str) -> None:
    """Link-local (cloud metadata), unspecified, multicast, in every spelling."""
    denied(server, authority)


def test_own_listeners_are_never_connected_to(server: ServerProcess) -> None:
    """Neither of them, by address or name."""
    before = metrics(server)['dispatcher_connections{side="caller"}']
    for _, port in (server.listen, server.api):
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]", "2130706433"):
            denied(server, f"{host}:{port}")
    assert metrics(server)['dispatcher_connections{side="caller"}'] == before


def test_own_listener_on_every_address_is_never_connected_to(tmp_path: Path) -> None:
    """By none of the addresses of the machine."""
    with serving(tmp_path, LISTEN=":0") as server:
        port = server.listen[1]
        address = ("127.0.0.1", port)
        for host in ("127.0.0.1", "127.1.2.3", "[::1]", "localhost"):
            number = ask(address, post(f"{host}:{port}")).id
            assert dead(server, number)["reason"] == "egress_denied"


def test_loopback_is_allowed_by_default(server: ServerProcess, receiver: Receiver) -> None:
    """`EGRESS=any`."""
    accept(server, receiver)
    receiver.received(1)


def test_public_refuses_loopback_and_private_ranges(tmp_path: Path, receiver: Receiver) -> None:
    """And what is never allowed stays so."""
    port = receiver.fake.port
    with serving(tmp_path, EGRESS="public") as server:
        for authority in (*PRIVATE, receiver.authority, f"localhost:{port}", f"127.1:{port}"):
            denied(server, authority)
        denied(server, "169.254.169.254")
    assert receiver.fake.connections == 0


def test_allow_comes_first(tmp_path: Path, receivers: Receivers) -> None:
    """A network in `EGRESS_ALLOW` opens what `public` and `EGRESS_DENY` shut; not what is never
    connected to."""
    rules = {
        "EGRESS": "public",
        "EGRESS_ALLOW": "127.0.0.1, 127.0.1.0/24, 169.254.0.0/16, 0.0.0.0/0, *.internal",
        "EGRESS_DENY": "127.0.0.0/8",
    }
    with (
        serving(tmp_path, **rules) as server,
        receivers.open() as one,
        receivers.open(host="127.0.1.7") as other,
    ):
        accept(server, one)
        accept(server, other)
        one.received(1)
        other.received(1)
        denied(server, "169.254.169.254")
        denied(server, "[::1]:1")
        denied(server, f"127.0.0.1:{server.listen[1]}")


def test_allow_by_name_is_for_the_name_only(tmp_path: Path, receiver: Receiver) -> None:
    """Not for the address it stands for."""
    port = receiver.fake.port
    with serving(tmp_path, EGRESS="public", EGRESS_ALLOW="LocalHost") as server:
        assert ask(server.listen, post(f"localhost:{port}")).id
        receiver.received(1)
        assert ask(server.listen, post(f"LOCALHOST:{port}")).id
        receiver.received(2)
        denied(server, receiver.authority)


@pytest.mark.parametrize(
    ("deny", "authorities"),
    [
        ("127.0.0.1", ["127.0.0.1:{}", "[::ffff:127.0.0.1]:{}", "localhost:{}"]),
        ("127.0.0.0/8,::1", ["127.0.0.1:{}", "127.0.0.2:{}", "localhost:{}", "[::1]:{}"]),
        ("*.example, LOCALHOST", ["localhost:{}", "LocalHost:{}"]),
        ("*", ["127.0.0.1:{}", "localhost:{}"]),
    ],
)
def test_deny_lists_names_and_networks(
    tmp_path: Path, receiver: Receiver, deny: str, authorities: list[str]
) -> None:
    """A name is denied as a name, and by the addresses it has."""
    with serving(tmp_path, EGRESS_DENY=deny) as server:
        for authority in authorities:
            denied(server, authority.format(receiver.fake.port))
    assert receiver.fake.connections == 0


def test_proxies_of_the_environment_are_ignored(
    tmp_path: Path, receiver: Receiver, receivers: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages go where they are addressed to."""
    with receivers.open() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.authority}")
        with serving(tmp_path) as server:
            accept(server, receiver)
            receiver.received(1)
        assert proxy.fake.connections == 0

"""Whether an address is this machine's, asked of the kernel: in a network namespace of its own that
nothing can leave."""

from __future__ import annotations

import errno
import ipaddress
import socket
import subprocess
import sys

import pytest

from dispatcher.delivery.local import is_local

SETUP = """
import ipaddress, pathlib, subprocess, time
from dispatcher.delivery.local import is_local
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", "192.0.2.7/32", "dev", "lo"], check=True)
subprocess.run(["ip", "addr", "add", "2001:db8::7/128", "dev", "lo", "nodad"], check=True)
subprocess.run(["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True)
for device in ("v0", "v1"):
    subprocess.run(["ip", "link", "set", device, "up"], check=True)
for address in ("198.51.100.5/24", "198.51.100.6/24"):
    subprocess.run(["ip", "addr", "add", address, "dev", "v0"], check=True)
pathlib.Path("/proc/sys/net/ipv4/ip_nonlocal_bind").write_text("1")
pathlib.Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
deadline = time.monotonic() + 20
while time.monotonic() < deadline:  # the kernel puts the route of a new IPv6 address in later
    table = subprocess.run(["ip", "-6", "route", "show", "table", "local"], capture_output=True)
    if b"2001:db8::7" in table.stdout:
        break
for text in ("192.0.2.7", "192.0.2.8", "2001:db8::7", "2001:db8::8", "127.9.9.9", "::1",
             "198.51.100.5", "198.51.100.6", "198.51.100.7"):
    print(text, is_local(ipaddress.ip_address(text)))
"""
ALONE = ("unshare", "--user", "--map-root-user", "--net")


def test_only_own_addresses_are_local_where_every_address_can_be_bound_to() -> None:
    """`net.ipv4.ip_nonlocal_bind=1`, as behind keepalived: the machine next door is not us. The
    second address in a network is, although the kernel would speak to it from the first."""
    try:
        subprocess.run([*ALONE, "ip", "link"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    told = subprocess.run(
        [*ALONE, sys.executable, "-c", SETUP], capture_output=True, text=True, timeout=50
    )
    assert told.stdout.splitlines() == [
        "192.0.2.7 True",
        "192.0.2.8 False",
        "2001:db8::7 True",
        "2001:db8::8 False",
        "127.9.9.9 True",
        "::1 True",
        "198.51.100.5 True",
        "198.51.100.6 True",
        "198.51.100.7 False",
    ], told.stderr


class Refusing:
    """Stands in for `socket.socket`: fails with one number where it is made to ask for routes, and
    with another where it is connected."""

    def __init__(self, routes: int, datagrams: int) -> None:
        self._routes = routes
        self._datagrams = datagrams

    def __call__(self, family: int, *_: object) -> Refusing:
        if family == socket.AF_NETLINK:
            raise OSError(self._routes, "no")
        return self

    def __enter__(self) -> Refusing:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connect(self, _: object) -> None:
        """Fail."""
        raise OSError(self._datagrams, "no")


@pytest.mark.parametrize(
    ("routes", "datagrams"),
    [
        (errno.EMFILE, errno.ENETUNREACH),
        (errno.ENOBUFS, errno.ENETUNREACH),
        (errno.EAGAIN, errno.ENETUNREACH),
        (errno.EAFNOSUPPORT, errno.EMFILE),
        (errno.EPERM, errno.EPERM),
    ],
)
def test_unanswered_question_is_an_error_and_no_answer(
    routes: int, datagrams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not be taken for "not ours": a message could come back to us for ever."""
    monkeypatch.setattr(socket, "socket", Refusing(routes, datagrams))
    with pytest.raises(OSError, match="no"):
        is_local(ipaddress.ip_address("192.0.2.7"))


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH])
def test_address_without_a_route_is_not_local(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine has a way to its own addresses."""
    monkeypatch.setattr(socket, "socket", Refusing(number, errno.EMFILE))
    assert not is_local(ipaddress.ip_address("192.0.2.7"))


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EPERM])
def test_datagram_is_asked_where_a_sandbox_shows_no_routes(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service manager may allow no netlink sockets; deliveries must not fail for that."""
    monkeypatch.setattr(socket, "socket", Refusing(number, errno.ENETUNREACH))
    assert not is_local(ipaddress.ip_address("192.0.2.7"))

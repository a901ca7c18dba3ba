"""Which networks this machine has a way into, and whose fault it is that one cannot be reached."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from dispatcher.core.egress import Address
from dispatcher.core.outcome import AttemptResult, Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.pool import Pool
from dispatcher.delivery.resolver import Resolver
from dispatcher.delivery.ways import Reach, Ways
from dispatcher.testing.delivery import RecordingHome

FOUR = ipaddress.ip_address("192.0.2.7")
SIX = ipaddress.ip_address("2001:db8::7")
NOWHERE, NEAR, EVERYWHERE = Reach


class Machine:
    """The routes of a machine, which a test moves."""

    def __init__(self, four: Reach, six: Reach) -> None:
        self.reach = {4: four, 6: six}
        self.has_source = True
        self.ways = Ways(lambda family: self.reach[family], lambda address: self.has_source)

    def is_ours(self, *addresses: Address, number: int = errno.ENETUNREACH) -> bool:
        """Whether this machine is to blame when connecting to these fails."""
        return self.ways.is_ours(OSError(number, os.strerror(number)), addresses)


def test_network_that_this_machine_never_had_is_not_ours() -> None:
    """Without IPv6, or in a network without a way out, that never changes: messages have to end."""
    without_six = Machine(EVERYWHERE, NOWHERE)
    assert not without_six.is_ours(SIX)
    assert not without_six.is_ours(SIX, number=errno.ENETDOWN)
    assert not Machine(NEAR, NEAR).is_ours(FOUR, SIX)


def test_network_that_was_lost_is_ours_until_it_is_back() -> None:
    """The default route, or everything; one family says nothing about the other."""
    machine = Machine(EVERYWHERE, EVERYWHERE)
    assert not machine.is_ours(FOUR)  # a router on the way says the same
    machine.reach = {4: NEAR, 6: EVERYWHERE}
    assert machine.is_ours(FOUR)
    assert not machine.is_ours(SIX)
    assert not machine.is_ours(FOUR, SIX)  # the one that works was not reached either
    machine.reach = {4: NOWHERE, 6: NOWHERE}
    assert machine.is_ours(SIX)
    machine.reach = {4: EVERYWHERE, 6: NOWHERE}
    assert not machine.is_ours(FOUR)


def test_machine_without_any_network_is_to_blame() -> None:
    """It may have started before its network."""
    machine = Machine(NOWHERE, NOWHERE)
    assert machine.is_ours(FOUR)
    machine.reach[4] = EVERYWHERE
    assert not machine.is_ours(SIX)


def test_network_that_came_later_is_noted_when_a_connection_is_made() -> None:
    """Once a minute."""
    machine = Machine(NEAR, NOWHERE)
    machine.ways.note(100.0)
    machine.reach[4] = EVERYWHERE
    machine.ways.note(159.0)
    machine.reach[4] = NEAR
    assert not machine.is_ours(FOUR)
    machine.reach[4] = EVERYWHERE
    machine.ways.note(160.0)
    machine.reach[4] = NEAR
    assert machine.is_ours(FOUR)


def test_lack_of_ports_is_told_from_a_family_that_is_switched_off() -> None:
    """The kernel has one number for both: only ports come back."""
    machine = Machine(EVERYWHERE, NOWHERE)
    assert machine.is_ours(SIX, number=errno.EADDRNOTAVAIL)
    machine.has_source = False
    assert not machine.is_ours(SIX, number=errno.EADDRNOTAVAIL)
    assert machine.is_ours(SIX, number=errno.EMFILE)
    assert not machine.is_ours(SIX, number=errno.ECONNREFUSED)


async def _failure(machine: Machine, origin: str, number: int) -> AttemptResult:
    """Deliver one message over a connector that fails; names fail as those of no server do."""

    async def fail(_: object) -> socket.socket:
        raise OSError(number, os.strerror(number))

    async def look_up(_: str) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    resolver = Resolver(look_up, is_cut_off=machine.ways.are_lost)
    pool = Pool(DeliveryConfig(), resolver=resolver, connector=fail, ways=machine.ways)
    home = RecordingHome()
    pool.deliver(home.outgoing(origin))
    result = (await home.settled(1))[0].result
    await pool.close()
    assert result is not None
    return result


async def test_attempt_without_a_route_spends_the_attempt_where_there_never_was_one() -> None:
    """So the message becomes a dead letter; where the network was lost it is made again."""
    machine = Machine(EVERYWHERE, NOWHERE)
    result = await _failure(machine, "[2001:db8::7]:80", errno.ENETUNREACH)
    assert (result.failure, result.ours) == (Failure.CONNECTION, False)
    assert result.detail == "network is unreachable ([2001:db8::7]:80)"
    machine = Machine(EVERYWHERE, EVERYWHERE)
    machine.reach = {4: NOWHERE, 6: NOWHERE}
    assert (await _failure(machine, "[2001:db8::7]:80", errno.ENETUNREACH)).ours


async def test_name_that_nobody_could_be_asked_for_is_ours_while_the_network_is_lost() -> None:
    """The name server was not reached; that says nothing about the destination."""
    machine = Machine(EVERYWHERE, NOWHERE)
    result = await _failure(machine, "a.test", 0)
    assert (result.failure, result.ours) == (Failure.DNS, False)
    machine.reach[4] = NEAR
    result = await _failure(machine, "a.test", 0)
    assert (result.failure, result.ours) == (Failure.DNS, True)


SETUP = """
import ipaddress, pathlib, subprocess
from dispatcher.delivery.ways import Ways, reach
from dispatcher.delivery import ways
def do(*words):
    subprocess.run(["ip", *words], check=True)
def show():
    print(reach(4).name, reach(6).name)
do("link", "set", "lo", "up")
show()
do("link", "add", "v0", "type", "veth", "peer", "name", "v1")
do("link", "set", "v1", "up")
do("link", "set", "v0", "up")
do("addr", "add", "192.0.2.5/24", "dev", "v0")
do("addr", "add", "2001:db8::5/64", "dev", "v0", "nodad")
show()
do("route", "add", "default", "via", "192.0.2.1")
do("-6", "route", "add", "default", "via", "2001:db8::1")
show()
print(ways._has_source(ipaddress.ip_address("::1")))
pathlib.Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
print(ways._has_source(ipaddress.ip_address("::1")))
do("link", "set", "v0", "down")
show()
"""
ALONE = ("unshare", "--user", "--map-root-user", "--net")


def test_routes_are_read_from_the_kernel() -> None:
    """In a network namespace of its own, so that nothing can leave."""
    try:
        subprocess.run([*ALONE, "ip", "link"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    told = subprocess.run(
        [*ALONE, sys.executable, "-c", SETUP], capture_output=True, text=True, timeout=50
    )
    assert told.stdout.splitlines() == [
        "NOWHERE NOWHERE",
        "NEAR NEAR",
        "EVERYWHERE EVERYWHERE",
        "True",
        "False",
        "NOWHERE NOWHERE",
    ], told.stderr

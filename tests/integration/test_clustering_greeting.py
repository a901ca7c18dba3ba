"""A node greets the members that there are before it becomes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from dispatcher.cluster.records import MemberRecord, MemberState, member_key
from dispatcher.errors import ConfigError
from dispatcher.node.clustering.greeting import greet
from dispatcher.peers.gate import Gate
from dispatcher.peers.handshake import Purpose, Reason
from dispatcher.testing.leases import Leases, LeasesLink
from dispatcher.testing.ports import KeptPort

HOST = "127.0.0.1"
Loop = Callable[[], asyncio.AbstractEventLoop]


class _Nobody:
    """Handshakes that fail are of no interest here (`GateObserver`)."""

    def handshake_failed(self, address: str, reason: Reason, detail: str, unheard: int) -> None:
        """See the seam."""


class _Members:
    """Members that there are, each with a gate of its own or none."""

    def __init__(self) -> None:
        self.store = LeasesLink(Leases())
        self.raised: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: self.raised.append(what))

    async def is_there(self, node: str, port: int, state: MemberState = MemberState.LIVE) -> None:
        """Such a member has stored its record."""
        number = len(await self.store.look([member_key(one) for one in range(9)]))
        record = MemberRecord(node, f"{HOST}:{port}", 1, 1, state)
        await self.store.put(member_key(number), record.encode(), after=0)


async def _gate(key: bytes, links: list[asyncio.Protocol]) -> Gate:
    def make() -> asyncio.Protocol:
        links.append(asyncio.Protocol())
        return links[-1]

    gate = Gate(key, _Nobody())
    gate.on(Purpose.LINK, make)
    await gate.listen(HOST, 0)
    return gate


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_node_with_another_key_than_a_member_is_none(loop: Loop) -> None:
    """It is told which one knows another; members that cannot be reached, or have left, and what
    was stored of this very node prove nothing. Where the key is right nobody notices more than a
    connection that ends."""

    async def main() -> None:
        links: list[asyncio.Protocol] = []
        one, other, mine = [await _gate(key, links) for key in (b"right", b"wrong", b"right")]
        members = _Members()
        await members.is_there("one", one.port)
        await members.is_there("mine", other.port)
        await members.is_there("gone", other.port, MemberState.LEFT)
        with KeptPort() as nobody:
            await members.is_there("away", nobody.number)
            await greet(members.store, mine, node="mine")
        async with asyncio.timeout(60):
            while not links:  # noqa: ASYNC110  # there is no event to wait for
                await asyncio.sleep(0.01)
        await members.is_there("two", other.port)
        with pytest.raises(ConfigError, match=rf"CLUSTER_KEY: .*two at {HOST}:{other.port} has"):
            await greet(members.store, mine, node="mine")
        for gate in (one, other, mine):
            await gate.close()
        assert not members.raised

    _run(loop, main)


def _run(loop: Loop, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())

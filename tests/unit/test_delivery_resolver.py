"""Names, remembered: on simulated time, with a dict for a name server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import pytest

from dispatcher.delivery import resolver as module
from dispatcher.delivery.resolver import Resolver, system_lookup


class Server:
    """A name server whose answers wait for `go`."""

    def __init__(self) -> None:
        self.names: dict[str, Sequence[str]] = {}
        self.asked: list[str] = []
        self.now_s = 1000.0
        self.go = asyncio.Event()
        self.go.set()

    async def lookup(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await self.go.wait()
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]

    def resolver(self) -> Resolver:
        """Make a resolver that asks here and lives in this time."""
        return Resolver(self.lookup, now_s=lambda: self.now_s)


async def test_literal_needs_no_lookup() -> None:
    """IPv4 and IPv6."""
    server = Server()
    resolver = server.resolver()
    for host in ("127.0.0.1", "::1", "::ffff:10.0.0.1"):
        assert (await resolver.resolve(host)).addresses == (ipaddress.ip_address(host),)
    assert server.asked == []


async def test_number_that_only_looks_like_an_address_is_looked_up() -> None:
    """The system reads 127.1 and 0x7f.1 as addresses; what it makes of them is checked like any."""
    server = Server()
    server.names["127.1"] = ["127.0.0.1"]
    assert (await server.resolver().resolve("127.1")).addresses == (
        ipaddress.ip_address("127.0.0.1"),
    )


async def test_answer_is_remembered_for_30_seconds() -> None:
    """Then it is asked for again; order is kept and doubles are dropped."""
    server = Server()
    server.names["a.test"] = ["10.0.0.2", "10.0.0.1", "10.0.0.2"]
    resolver = server.resolver()
    for elapsed_s, asked in ((0, 1), (29.9, 1), (30.0, 2), (31.0, 2)):
        server.now_s = 1000.0 + elapsed_s
        answer = await resolver.resolve("a.test")
        assert [str(address) for address in answer.addresses] == ["10.0.0.2", "10.0.0.1"]
        assert len(server.asked) == asked


async def test_failure_is_remembered_for_one_second() -> None:
    """A burst to a name that does not exist asks once."""
    server = Server()
    resolver = server.resolver()
    for elapsed_s, asked in ((0, 1), (0.9, 1), (1.0, 2)):
        server.now_s = 1000.0 + elapsed_s
        answer = await resolver.resolve("a.test")
        assert (answer.addresses, answer.problem) == ((), "Name or service not known")
        assert len(server.asked) == asked


async def test_name_without_addresses_is_a_failure() -> None:
    """With a reason of our own."""
    server = Server()
    server.names["a.test"] = []
    assert (await server.resolver().resolve("a.test")).problem == "the name has no address"


async def test_concurrent_lookups_of_one_name_are_one() -> None:
    """And one that is cancelled does not take the others with it."""
    server = Server()
    server.names["a.test"] = ["10.0.0.1"]
    server.go.clear()
    resolver = server.resolver()
    waiting = [asyncio.create_task(resolver.resolve("a.test")) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    server.go.set()
    answers = await asyncio.gather(*waiting[1:])
    assert server.asked == ["a.test"]
    assert {str(answer.addresses[0]) for answer in answers} == {"10.0.0.1"}
    assert waiting[0].cancelled()


async def test_forgotten_name_is_looked_up_again() -> None:
    """Forgetting what is not known is harmless."""
    server = Server()
    server.names["a.test"] = ["10.0.0.1"]
    resolver = server.resolver()
    await resolver.resolve("a.test")
    resolver.forget("a.test")
    resolver.forget("b.test")
    await resolver.resolve("a.test")
    assert server.asked == ["a.test", "a.test"]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest answers go first."""
    monkeypatch.setattr(module, "NAMES", 3)
    server = Server()
    resolver = server.resolver()
    for name in ("a", "b", "c", "d"):
        server.names[name] = ["10.0.0.1"]
        await resolver.resolve(name)
    await resolver.resolve("b")
    assert server.asked == ["a", "b", "c", "d"]
    await resolver.resolve("a")
    assert server.asked[-1] == "a"


async def test_closing_gives_up_lookups() -> None:
    """Nothing is left running."""
    server = Server()
    server.go.clear()
    resolver = server.resolver()
    waiting = asyncio.create_task(resolver.resolve("a.test"))
    await asyncio.sleep(0)
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_system_lookup_finds_this_machine() -> None:
    """From the hosts file: no question leaves the machine."""
    assert {"127.0.0.1", "::1"} & set(await system_lookup("localhost"))


async def test_name_the_system_cannot_encode_is_a_failure() -> None:
    """A label of more than 63 letters is refused before anything is asked."""
    answer = await Resolver().resolve("x" * 64 + ".test")
    assert answer.addresses == ()
    assert answer.problem


async def test_system_lookup_may_be_cancelled() -> None:
    """The thread goes on and its answer is dropped."""
    task = asyncio.create_task(system_lookup("localhost"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)

"""Names, remembered: on simulated time, with a dict for a name server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Never

import pytest

from dispatcher.delivery.lookup import system_lookup
from dispatcher.delivery.resolver import Answer, Resolver
from dispatcher.delivery.slots import Rank, Slots
from dispatcher.testing.clock import SimulatedClock
from dispatcher.testing.loop import run


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


async def test_memory_is_bounded() -> None:
    """The oldest answers go first."""
    server = Server()
    resolver = Resolver(server.lookup, now_s=lambda: server.now_s, names=3)
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


def addresses(answer: Answer) -> list[str]:
    return [str(address) for address in answer.addresses]


class Names:
    """Name servers on simulated time: each name has addresses, an error, or nobody who answers;
    what is asked of a silent one fails after half a minute, as the system has it."""

    def __init__(self) -> None:
        self.names: dict[str, list[str] | OSError | None] = {}
        self.asked: list[str] = []
        self.asking = 0
        self.most_asking = 0

    async def lookup(self, host: str) -> Sequence[str]:
        """Answer after a moment."""
        self.asked.append(host)
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        try:
            found = self.names.get(host)
            await asyncio.sleep(0.01 if found is not None else 30.0)
        finally:
            self.asking -= 1
        if found is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if isinstance(found, OSError):
            raise found
        return found


def test_old_answer_is_used_where_a_new_one_cannot_be_had() -> None:
    """A name server that fell silent, or fails for the moment, says nothing about the destination:
    after half a second, at once while the same lookup goes on, and for an hour."""

    async def main(clock: SimulatedClock) -> None:
        loop, names = asyncio.get_running_loop(), Names()
        resolver = Resolver(names.lookup)
        names.names["a.test"] = ["10.0.0.1"]
        assert addresses(await resolver.resolve("a.test")) == ["10.0.0.1"]
        await asyncio.sleep(40)
        names.names["a.test"] = None
        for took_s in (0.5, 0.0, 0.0):
            began_s = loop.time()
            assert addresses(await resolver.resolve("a.test")) == ["10.0.0.1"]
            assert loop.time() - began_s == pytest.approx(took_s, abs=0.01)
        await asyncio.sleep(60)
        names.names["a.test"] = socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
        assert addresses(await resolver.resolve("a.test")) == ["10.0.0.1"]
        await asyncio.sleep(3600)
        assert addresses(await resolver.resolve("a.test")) == []
        await resolver.close()

    run(main)


def test_new_answer_is_waited_for_where_it_comes_at_once() -> None:
    """A name that moved is followed with the first connection after its 30 seconds; one that went
    is gone."""

    async def main(clock: SimulatedClock) -> None:
        names = Names()
        resolver = Resolver(names.lookup)
        names.names["a.test"] = ["10.0.0.1"]
        await resolver.resolve("a.test")
        names.names["a.test"] = ["10.0.0.2"]
        await asyncio.sleep(31)
        assert addresses(await resolver.resolve("a.test")) == ["10.0.0.2"]
        names.names["a.test"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        await asyncio.sleep(31)
        answer = await resolver.resolve("a.test")
        assert (answer.addresses, answer.problem) == ((), "Name or service not known")

    run(main)


def test_names_of_dead_servers_do_not_hold_up_the_others() -> None:
    """Three hundred that are asked for all the time: a name that was found is found every time, a
    new one after the first round at the latest, and the threads are bounded."""

    async def main(clock: SimulatedClock) -> None:
        loop, names = asyncio.get_running_loop(), Names()
        resolver = Resolver(names.lookup)
        names.names |= {"good.test": ["10.0.0.1"], "new.test": ["10.0.0.2"]}
        await resolver.resolve("good.test")

        async def ask_for_ever(host: str) -> None:
            while True:
                answer = await resolver.resolve(host)
                assert answer.problem
                await asyncio.sleep(2)

        dead = [asyncio.create_task(ask_for_ever(f"c{number}.test")) for number in range(300)]
        await asyncio.sleep(0.1)
        new = asyncio.create_task(resolver.resolve("new.test"))
        for _ in range(300):
            began_s = loop.time()
            assert addresses(await resolver.resolve("good.test")) == ["10.0.0.1"]
            assert loop.time() - began_s < 0.6
            await asyncio.sleep(1)
        assert new.done()
        assert addresses(new.result()) == ["10.0.0.2"]
        began_s = loop.time()
        names.names["late.test"] = ["10.0.0.3"]
        assert addresses(await resolver.resolve("late.test")) == ["10.0.0.3"]
        assert loop.time() - began_s < 0.1
        assert names.most_asking <= 256
        assert not any(task.done() for task in dead)
        for task in dead:
            task.cancel()
        await resolver.close()

    run(main)


def test_waiting_for_a_turn_is_told_from_waiting_for_an_answer() -> None:
    """The one is on this machine, the other is not."""

    async def main(clock: SimulatedClock) -> None:
        names = Names()
        resolver = Resolver(names.lookup, slots=Slots(1))
        phases: list[tuple[str, bool]] = []
        tasks = [
            asyncio.create_task(resolver.resolve(host, lambda *phase: phases.append(phase)))
            for host in ("a.test", "b.test", "b.test")
        ]
        await asyncio.sleep(1)
        assert phases == [
            ("waiting for a turn to look up a.test", True),
            ("waiting for a turn to look up b.test", True),
            ("waiting for a turn to look up b.test", True),
            ("looking up a.test", False),
        ]
        await asyncio.sleep(30)
        assert phases[4:] == [("looking up b.test", False)] * 2
        await asyncio.gather(*tasks)

    run(main)


async def test_answer_that_nobody_could_be_asked_for_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No thread, no memory, no descriptor: nothing is known of the name, which is not failing."""
    errors: list[Exception] = [
        RuntimeError("can't start new thread"),
        MemoryError(),
        socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"),
        OSError(24, "Too many open files"),
    ]
    for error in errors:

        async def fail(_: str, error: Exception = error) -> Sequence[str]:
            raise error

        answer = await Resolver(fail).resolve("a.test")
        assert (answer.addresses, answer.ours) == ((), True)
        assert answer.problem


async def test_system_calls_its_want_of_a_descriptor_a_failure_of_the_name_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So it is looked at whether there is one; only then is the name server to blame."""

    async def fail(_: str) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    def none(*_: object) -> Never:
        raise OSError(24, "Too many open files")

    assert not (await Resolver(fail).resolve("a.test")).ours
    monkeypatch.setattr(socket, "socket", none)
    assert (await Resolver(fail).resolve("a.test")).ours


def test_slots_are_shared_out_by_rank() -> None:
    """Those that were found before always have some; those that fail have few."""

    async def main(clock: SimulatedClock) -> None:
        slots = Slots(4)
        given: list[str] = []

        async def take(rank: Rank, name: str) -> None:
            await slots.take(rank)
            given.append(name)

        wanted = [(Rank.FAILING, "f1"), (Rank.FAILING, "f2"), (Rank.NEW, "n1"), (Rank.NEW, "n2")]
        wanted += [(Rank.NEW, "n3"), (Rank.KNOWN, "k1"), (Rank.KNOWN, "k2")]
        tasks = {name: asyncio.create_task(take(rank, name)) for rank, name in wanted}
        await asyncio.sleep(0.1)
        assert given == ["f1", "n1", "n2", "k1"]
        slots.give_back(Rank.NEW)
        await asyncio.sleep(0.1)
        assert given[4:] == ["k2"]
        tasks["n3"].cancel()
        await asyncio.sleep(0.1)
        slots.give_back(Rank.KNOWN)
        await asyncio.sleep(0.1)
        assert given[5:] == []
        slots.give_back(Rank.FAILING)
        await asyncio.sleep(0.1)
        assert given[5:] == ["f2"]
        for rank in (Rank.NEW, Rank.KNOWN, Rank.FAILING):
            slots.give_back(rank)
        await asyncio.sleep(0.1)
        assert slots._taken == [0, 0, 0]

    run(main)


def test_turn_that_came_as_its_waiter_was_cancelled_goes_to_the_next() -> None:
    """No slot is lost."""

    async def main(clock: SimulatedClock) -> None:
        slots = Slots(1)
        await slots.take(Rank.NEW)
        first = asyncio.create_task(slots.take(Rank.NEW))
        second = asyncio.create_task(slots.take(Rank.NEW))
        await asyncio.sleep(0.1)
        slots.give_back(Rank.NEW)
        first.cancel()
        await asyncio.sleep(0.1)
        assert first.cancelled()
        assert second.done()
        assert not second.cancelled()

    run(main)


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

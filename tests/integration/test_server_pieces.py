"""A server that is one process of a node: it has partitions of its own, and without the first one
no desk."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

import pytest

from dispatcher.listening.given import GivenSockets
from dispatcher.node.assignment import Assignment
from dispatcher.testing.destination import FakeDestination, Wait
from dispatcher.testing.piece import program_of
from dispatcher.testing.process import ServerProcess
from tests.integration.partitioned import destinations, running, until


def post(server: ServerProcess, to: FakeDestination) -> str:
    """Send a message; its id."""
    connection = http.client.HTTPConnection(*server.listen, timeout=60)
    connection.request("POST", "/", b"x", {"X-Dispatcher-Origin-Host": to.authority})
    answered = connection.getresponse()
    assert answered.status == 202, answered.read()
    connection.close()
    return answered.headers["X-Dispatcher-Message-Id"]


async def test_process_without_the_desk_delivers_what_it_accepted_after_it_was_killed(
    tmp_path: Path,
) -> None:
    """It makes and opens the logs of its own partition, and nothing that a node has once."""
    program = program_of(1, (1,), 2)
    logs = {
        "TRANSACTION_LOG": str(tmp_path / "transaction.log"),
        "DEAD_LETTER": str(tmp_path / "deadletter.log"),
    }
    async with FakeDestination() as destination:
        destination.script([Wait(600)])
        with ServerProcess(tmp_path, (), 60.0, program, **logs) as server:
            first = post(server, destination)
            await destination.received(1)
            server.kill()
            server.wait()
        with ServerProcess(tmp_path, (), 60.0, program, **logs) as server:
            await destination.received(2)
            second = post(server, destination)
            await destination.received(3)
            server.stop()
            assert server.wait() == 0
            assert [one["path"] for one in server.events("log.opened")] == [
                str(tmp_path / "transaction.log" / "p1")
            ]
    assert first[:4] == second[:4] == "0001"
    ids = [one.headers["x-dispatcher-message-id"] for one in destination.requests]
    assert ids == [first, first, second]
    assert sorted(os.listdir(tmp_path)) == ["deadletter.log", "transaction.log"]
    assert os.listdir(tmp_path / "transaction.log") == ["p1"]


async def test_messages_with_a_key_are_refused_where_their_partition_is_not_here(
    tmp_path: Path,
) -> None:
    """They lie in the partition of their place, of as many as the node has; those without a key in
    the process's own one."""
    async with (
        destinations(2) as (there, here),
        running(tmp_path, Assignment(1, (1,), 2)) as server,
    ):
        assert (await server.ask(there, order_key="k")).status == 503
        assert (await server.post(here, key="k"))[:4] == "0001"
        assert (await server.post(there))[:4] == "0001"
        await here.received(1)
        await there.received(1)


async def test_surplus_partition_takes_nothing_without_a_key_and_is_delivered_empty(
    tmp_path: Path,
) -> None:
    """Also where the own one takes nothing for the moment."""
    async with FakeDestination() as destination:
        destination.script([Wait(600)])
        async with running(tmp_path, Assignment(4, (4,), 5)) as server:
            assert (await server.post(destination))[:4] == "0004"
            await destination.received(1)
        async with running(tmp_path, Assignment(1, (1, 4), 3)) as server:
            await destination.received(2)
            assert (await server.post(destination))[:4] == "0001"
            server.server.messages.queues[0].close_intake()
            assert (await server.ask(destination)).status == 503


async def test_sockets_that_are_given_are_listened_on_and_the_file_of_one_stays(
    tmp_path: Path,
) -> None:
    """They were bound by somebody else, who may go on listening after this server."""
    path = tmp_path / "listen.sock"
    with (
        socket.create_server(("127.0.0.1", 0)) as listen,
        socket.socket(socket.AF_UNIX) as unix,
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_server(("127.0.0.1", 0)) as api,
    ):
        unix.bind(str(path))
        unix.listen()
        given = GivenSockets([listen.dup(), unix.dup()], [proxy.dup()], [api.dup()])
        async with running(tmp_path, Assignment(), given) as server, FakeDestination() as to:
            ready = server.ready
            assert ready["listen"] == [f"127.0.0.1:{listen.getsockname()[1]}"]
            assert ready["proxy_listen"] == [f"127.0.0.1:{proxy.getsockname()[1]}"]
            assert ready["api_listen"] == f"127.0.0.1:{api.getsockname()[1]}"
            await server.post(to)
            await to.received(1)
            assert (await server.api("/readyz"))["status"] == "ready"
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
        assert path.exists()
        with socket.create_connection(api.getsockname()):
            pass  # nobody answers, but it listens


async def test_nothing_is_sent_to_the_api_of_the_node_without_the_desk_either(
    tmp_path: Path,
) -> None:
    """Its address is not this process's, but it is the node's."""
    with socket.create_server(("127.0.0.1", 0)) as api:
        given = GivenSockets(api=[api])
        async with running(tmp_path, Assignment(1, (1,), 2), given, EGRESS="any") as server:
            host = f"127.0.0.1:{api.getsockname()[1]}"
            url = f"http://{server.ready['listen'][0]}/"
            headers = {"X-Dispatcher-Origin-Host": host}
            async with server.session.post(url, headers=headers) as answered:
                assert answered.status == 202

            async def is_refused() -> bool:
                return any(line.get("error") == "egress_denied" for line in server.lines)

            await until(is_refused)


def test_own_partition_is_one_that_the_process_has() -> None:
    """Or nothing without a key could be stored."""
    with pytest.raises(ValueError, match="partition 1"):
        Assignment(1, (0, 2), 2)

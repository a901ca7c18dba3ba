"""Whose certificates are accepted, when their file changes and when it cannot be read."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from dispatcher.core.outcome import Failure
from dispatcher.delivery.config import DeliveryConfig
from dispatcher.delivery.dial import AddrInfo, happy_eyeballs
from dispatcher.delivery.pool import Pool
from dispatcher.delivery.trust import Trust
from dispatcher.testing.delivery import RecordingHome


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of certificates, as an operator sets it."""
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def put(path: Path, content: bytes | None) -> None:
    """Replace a file, the way package managers do, or remove it."""
    if content is None:
        path.unlink()
        return
    new = path.with_name("new.pem")
    new.write_bytes(content)
    new.replace(path)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Let the process have none to spare."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        while True:
            try:
                taken.append(socket.socket())
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in taken:
            one.close()


async def test_certificates_are_read_again_when_their_file_was_replaced(bundle: Path) -> None:
    """As when the system's are updated: without a restart, and only then."""
    trust = Trust()
    before = await trust.context()
    assert await trust.context() is before
    put(bundle, trustme.CA().cert_pem.bytes())
    after = await trust.context()
    assert after.get_ca_certs() != before.get_ca_certs()
    assert await trust.context() is after


@pytest.mark.parametrize("content", [None, b""])
async def test_certificates_are_kept_while_their_file_is_written(
    bundle: Path, content: bytes | None
) -> None:
    """It is away, or empty, for a moment: that is no reason to trust nobody."""
    trust = Trust()
    before = await trust.context()
    put(bundle, content)
    assert await trust.context() is before
    put(bundle, trustme.CA().cert_pem.bytes())
    assert (await trust.context()).get_ca_certs() != before.get_ca_certs()


@pytest.mark.usefixtures("bundle")
async def test_certificates_that_no_descriptor_is_there_for_are_our_lack() -> None:
    """The destination's certificate would not be accepted, and it is not to blame for that."""
    lack = no_descriptors()

    async def connect_and_lack(addr_infos: Sequence[AddrInfo]) -> socket.socket:
        connected = await happy_eyeballs(addr_infos)
        lack.__enter__()
        return connected

    home = RecordingHome()
    pool = Pool(DeliveryConfig(), connector=connect_and_lack)
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            pool.deliver(home.outgoing(f"https://127.0.0.1:{server.getsockname()[1]}"))
            result = (await home.settled(1))[0].result
        finally:
            lack.__exit__(None, None, None)
    await pool.close()
    assert result is not None
    assert (result.failure, result.ours) == (Failure.CONNECTION, True)
    assert result.detail.startswith("too many open files")

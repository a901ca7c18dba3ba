"""The real server on a disk that is really full: a small file system of its own (`small_disk`)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.crash.callers import accepts_again, pour, send
from tests.crash.load import (
    Account,
    Answer,
    Destination,
    come,
    counts,
    delivered,
    readiness,
    until,
)
from tests.effort import thorough

pytestmark = pytest.mark.crash

_SIZE_BYTES = 24 * 1024 * 1024
_QUICK = {"RETRY_DELAY": "100", "RETRY_MAX_DELAY": "500", "RETRYLIMIT": "1000", "WORKER": "16"}
_BODY_BYTES = 20_000
_CALLERS = 16


async def _fill(
    account: Account, server: ServerProcess, origin: str, size_bytes: int = _BODY_BYTES
) -> list[Answer]:
    """Send messages until the disk is full; return what the last callers were told."""
    for _ in range(2000):
        answers = await asyncio.gather(
            *(send(account, server, origin, size_bytes) for _ in range(_CALLERS))
        )
        if all(answer.status != 202 for answer in answers):
            return answers
    raise AssertionError("the disk did not become full")


def _used_bytes(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*.seg"))


async def test_a_disk_full_of_messages_empties_by_itself_when_their_destination_is_back(
    tmp_path: Path, small_disk: Path
) -> None:
    """503 while it is full, also after a restart; then everything that was accepted is delivered,
    nothing that was refused is, the space is free again and accepting goes on without a restart."""
    account = Account()
    settings = {**_QUICK, "TRANSACTION_LOG": str(small_disk / "transaction.log")}
    async with Destination(account) as destination:
        await destination.stop()
        with ServerProcess(tmp_path, **settings) as server:
            refused = await _fill(account, server, destination.origin)
            assert {(answer.status, answer.slug) for answer in refused} == {(503, "disk_full")}
            assert all(b"\r\nretry-after: " in answer.headers.lower() for answer in refused)
            status, text = await asyncio.to_thread(readiness, server)
            assert status == 503
            assert "disk_full" in text
            for _ in range(12):  # a gap at the end of the log is no reason to begin again
                await asyncio.gather(
                    *(send(account, server, destination.origin, size) for size in (100, 150_000))
                )
                await asyncio.sleep(0.2)
            assert len(server.events("log.disk_full")) == 1, "it is said once"
            assert not server.events("log.space_again")
        with ServerProcess(tmp_path, **settings) as server:
            assert server.event("server.ready")["pending"] == len(account.accepted)
            await _fill(account, server, destination.origin)
            full_bytes = _used_bytes(small_disk)
            await destination.start()
            await delivered(account, [destination])
            await accepts_again(account, server, destination.origin)
            assert (await asyncio.to_thread(readiness, server))[0] == 200
            for _ in range(20):
                await send(account, server, destination.origin, _BODY_BYTES)
            deliveries = await delivered(account, [destination])
            await until(lambda: _used_bytes(small_disk) < full_bytes / 2)  # the space is free again
            assert await asyncio.to_thread(server.stop) == 0
    account.check(deliveries, every=False)
    assert len(account.accepted) * _BODY_BYTES > _SIZE_BYTES / 3, "the disk was used"


@thorough
async def test_a_disk_full_of_large_segments_goes_on_and_nothing_comes_twice_after_a_kill(
    tmp_path: Path, middling_disk: Path
) -> None:
    """Settling them all finds space behind segments that are larger than those at the end; both
    logs lie on the disk, and some of the messages die."""
    account = Account()
    settings = {
        **_QUICK,
        "TRANSACTION_LOG": str(middling_disk / "transaction.log"),
        "DEAD_LETTER": str(middling_disk / "deadletter.log"),
    }
    async with Destination(
        account, fails=lambda target, attempt: 404 if int(target[1:]) % 8 == 0 else 200
    ) as destination:
        await destination.stop()
        with ServerProcess(tmp_path, **settings) as server:
            while await pour(account, server, destination.origin, 4000):
                pass
            assert _used_bytes(middling_disk) > 35 * 1024 * 1024
            await destination.start()
            await until(lambda: counts(server)[0] == 0, timeout_s=180)
            await accepts_again(account, server, destination.origin)
            await until(lambda: counts(server)[0] == 0, timeout_s=180)
            await asyncio.sleep(1.5)
            tried = [each.id for each in destination.deliveries]
            server.kill()
        with ServerProcess(tmp_path, **settings) as server:
            assert server.event("server.ready")["pending"] == 0
            await asyncio.sleep(0.5)
            assert await asyncio.to_thread(server.stop) == 0
        assert [each.id for each in destination.deliveries] == tried
    assert {each.target for each in come([destination])} == set(account.accepted)
    assert len(account.accepted) > 5000


async def test_a_disk_filled_by_somebody_else_is_noticed_and_so_is_its_end(
    tmp_path: Path, small_disk: Path
) -> None:
    """A foreign file takes the space and is removed: 503 in between, and no restart."""
    account = Account()
    settings = {**_QUICK, "TRANSACTION_LOG": str(small_disk / "transaction.log")}
    foreign = small_disk / "foreign"
    async with Destination(account) as destination:
        await destination.stop()
        with ServerProcess(tmp_path, **settings) as server:
            await send(account, server, destination.origin, _BODY_BYTES)
            with contextlib.suppress(OSError), foreign.open("wb", buffering=0) as file:
                while file.write(bytes(65536)):
                    pass
            await _fill(account, server, destination.origin)
            await destination.start()
            await delivered(account, [destination])
            foreign.unlink()
            await asyncio.to_thread(server.event, "log.space_again")
            await accepts_again(account, server, destination.origin)
            deliveries = await delivered(account, [destination])
            assert await asyncio.to_thread(server.stop) == 0
    account.check(deliveries, every=False)


@pytest.mark.parametrize("size_bytes", [100, 600 * 1024], ids=["small", "large"])
async def test_a_dead_letter_waits_when_the_disk_of_its_log_is_full(
    tmp_path: Path, small_disk: Path, size_bytes: int
) -> None:
    """A message that is given up while there is no space for it is neither lost nor sent again and
    again; a server that is stopped meanwhile stops, and gives it up after the next start."""
    account = Account()
    settings = {**_QUICK, "DEAD_LETTER": str(small_disk / "deadletter.log")}
    foreign = small_disk / "foreign"
    async with Destination(account, fails=lambda target, attempt: 404) as destination:
        with ServerProcess(tmp_path, **settings) as server:
            with contextlib.suppress(OSError), foreign.open("wb", buffering=0) as file:
                while file.write(bytes(65536)):
                    pass
            count = 80 if size_bytes < 1000 else 12
            await asyncio.gather(
                *(send(account, server, destination.origin, _BODY_BYTES) for _ in range(200))
            )
            for _ in range(count):
                await send(account, server, destination.origin, size_bytes)
            line = await asyncio.to_thread(server.event, "log.disk_full")
            assert line["path"] == settings["DEAD_LETTER"]
            await asyncio.sleep(1.5)
            dead = {line["id"] for line in server.events("message.dead_lettered")}
            assert len(dead) < len(account.accepted)
            tries = [each.id for each in destination.deliveries]
            assert len(tries) == len(set(tries)), "each is tried once"
            assert (await asyncio.to_thread(readiness, server))[0] == 503
            assert await asyncio.to_thread(server.stop) == 0
        with ServerProcess(tmp_path, **settings) as server:
            await asyncio.sleep(0.5)
            foreign.unlink()
            await until(lambda: counts(server) == (0, len(account.accepted)))
            # Urgent records need no probe, accepting does: it comes once a second.
            await until(lambda: readiness(server)[0] == 200)
            assert await asyncio.to_thread(server.stop) == 0
    seen = {each.target for each in come([destination])}
    assert seen == set(account.accepted)
    assert len(come([destination])) <= 2 * len(account.accepted)

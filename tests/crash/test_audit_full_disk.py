"""The audit on a disk that is really full: a small file system of its own."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.process import ServerProcess
from tests.crash.callers import send
from tests.crash.load import Account, Destination, delivered, until

pytestmark = pytest.mark.crash


def ask(server: ServerProcess, path: str, method: str = "GET") -> Any:
    """Ask the API; the document of an answer that must be 200."""
    request = urllib.request.Request(f"http://{server.api[0]}:{server.api[1]}{path}", method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


async def test_audit_that_has_no_space_waits_and_holds_up_nothing(
    tmp_path: Path, tiny_disk: Path
) -> None:
    """Messages are accepted and delivered, operators are answered; what they did is written once
    there is space, without a restart."""
    account = Account()
    settings = {"TRANSACTION_LOG": str(tiny_disk / "transaction.log")}
    ballast = tiny_disk / "ballast"
    async with Destination(account) as destination:
        with ServerProcess(tmp_path, **settings) as server:
            await send(account, server, destination.origin, 100)
            with ballast.open("wb", buffering=0) as file:
                size = 64 * 1024
                while size >= 1024:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        size //= 2
            hold = "/v1/destinations/a.example/hold"
            assert (await asyncio.to_thread(ask, server, hold, "POST"))["held"]
            await until(lambda: bool(server.events("audit.unkept")))
            page = await asyncio.to_thread(ask, server, "/v1/audit")
            assert [one["action"] for one in page["items"]] == ["held"]
            assert page["unkept"]
            answers = [await send(account, server, destination.origin, 100) for _ in range(20)]
            assert {answer.status for answer in answers} == {202}
            await delivered(account, [destination])
            ballast.unlink()
            await until(lambda: bool(server.events("audit.kept")))
            await asyncio.to_thread(server.kill)
        with ServerProcess(tmp_path, **settings) as server:
            page = await asyncio.to_thread(ask, server, "/v1/audit")
            assert [one["action"] for one in page["items"]] == ["held"]
            assert page["unkept"] is None
            assert await asyncio.to_thread(server.stop) == 0

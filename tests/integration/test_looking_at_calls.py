"""What a real server says of its calls, as the command line shows it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

from dispatcher.testing.application import exits, polls
from dispatcher.testing.destination import FakeDestination, answer
from dispatcher.testing.process import ServerProcess
from tests.integration.test_watching_calls import dispatch, result, says

ROOT = Path(__file__).parents[2]


async def command(server: ServerProcess, *arguments: str) -> str:
    """Run a command against a server; what it printed."""
    host, port = server.api
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DISPATCHER_API": f"http://{host}:{port}",
    }
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "dispatcher", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


async def shown(server: ServerProcess, number: str) -> Any:
    """What `calls show` says of a call."""
    return json.loads(await command(server, "calls", "show", number, "--json"))


async def test_tree_of_a_call_is_shown_after_it_has_ended(tmp_path: Path) -> None:
    """With what it called, and how each of them ended."""
    async with FakeDestination() as application, aiohttp.ClientSession() as http:
        application.script(says(polls("child")), says(exits()), says(exits()))
        with ServerProcess(tmp_path) as server:
            number = await dispatch(http, server, f"http://{application.authority}")
            await result(http, server, number)
            found = await shown(server, number)
            top, child = found["tree"]["nodes"]
            assert (top["id"], top["state"]) == (number, "succeeded")
            assert (child["function"], child["parent_id"]) == ("child", number)
            assert child["state"] == "succeeded"
            assert found["result"]["state"] == "succeeded"
            under = await shown(server, child["id"])
            assert [entry["step"] for entry in under["timeline"]["entries"]] == [
                "created",
                "run",
                "ended",
            ]
            assert "\n  child  " in await command(server, "calls", "show", number)


async def test_call_that_fails_says_why_in_one_word_until_it_is_cancelled(tmp_path: Path) -> None:
    """`http_503` in `last_error`; the timeline has the wish to cancel."""
    async with FakeDestination() as application, aiohttp.ClientSession() as http:
        application.default = answer(503)
        with ServerProcess(tmp_path, CALL_RETRY_DELAY="60000") as server:
            number = await dispatch(http, server, f"http://{application.authority}")
            found = await shown(server, number)
            async with asyncio.timeout(60):
                while found["call"]["attempts"] == 0:
                    found = await shown(server, number)
            assert found["call"]["last_error"] == "http_503"
            assert found["call"]["state"] == "scheduled"
            assert await command(server, "calls", "cancel", number) == (
                f"{number} is asked to end.\n"
            )
            steps = [
                entry["step"] for entry in (await shown(server, number))["timeline"]["entries"]
            ]
            assert steps[:3] == ["created", "run", "cancel_asked"]


async def test_promise_is_resolved_from_the_command_line(tmp_path: Path) -> None:
    """The call that waits for it succeeds with the value."""
    async with aiohttp.ClientSession() as http:
        with ServerProcess(tmp_path) as server:
            number = await dispatch(http, server, "promise:order-7")
            await command(server, "promises", "resolve", "order-7", "--value", '{"paid": true}')
            assert (await result(http, server, number))["output"] == {"paid": True}

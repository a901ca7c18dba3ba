"""Dispatch requests in JSON, up to the largest: read without holding up anybody."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dispatcher.api.json_requests import AT_ONCE_BYTES, IN_A_THREAD_BYTES, JsonRequests
from dispatcher.functions.limits import MOST_RUN_BYTES
from dispatcher.protocol.connect import Code, ConnectError

VALUE = "type.googleapis.com/google.protobuf.Value"


def request(value: Any, calls: int = 1) -> bytes:
    """A request whose calls have this input."""
    call = {"endpoint": "http://a", "function": "f", "input": {"@type": VALUE, "value": value}}
    return json.dumps({"calls": [call] * calls}).encode()


@pytest.mark.parametrize("size", [10, AT_ONCE_BYTES, IN_A_THREAD_BYTES, MOST_RUN_BYTES - 1000])
async def test_request_of_any_size_is_read(size: int) -> None:
    """The same, whoever reads it."""
    read = await JsonRequests().read(request("x" * size))
    assert [(call.endpoint, call.function) for call in read.calls] == [("http://a", "f")]
    assert read.calls[0].input.value.endswith(b"x" * size)


@pytest.mark.parametrize("size", [0, 2 * AT_ONCE_BYTES, 2 * IN_A_THREAD_BYTES])
async def test_mistake_is_named_however_large_the_body_is(size: int) -> None:
    """With the field."""
    body = json.dumps({"calls": [{"functoin": "f" * size}]}).encode()
    with pytest.raises(ConnectError, match="functoin") as caught:
        await JsonRequests().read(body)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("limits", [{"cpu_seconds": 1}, {"memory_bytes": 150 << 20}])
async def test_body_that_takes_too_much_is_refused(limits: dict[str, int]) -> None:
    """Four bytes of JSON become hundreds; others are read after it."""
    requests = JsonRequests(**limits)
    with pytest.raises(ConnectError, match="application/proto") as caught:
        await requests.read(request([[]] * 3_000_000))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    requests._limits = JsonRequests()._limits  # on a slow machine a process only starts in a second
    assert (await requests.read(request("x" * 100_000))).calls


async def test_nothing_is_left_running_when_the_caller_goes_away() -> None:
    """The next one has its turn at once."""
    requests = JsonRequests()
    task = asyncio.create_task(requests.read(request([[]] * 1_000_000)))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await requests.read(request("x" * 100_000))).calls
    for _ in range(600):
        if not _converters():
            break
        await asyncio.sleep(0.1)
    assert not _converters()


def _converters() -> list[str]:
    """Children of this process that convert."""
    mine = f"PPid:\t{os.getpid()}\n"
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if mine in status.read_text():
                found.append(status.with_name("cmdline").read_bytes().decode())
        except OSError:
            continue
    return [line for line in found if "convert" in line]

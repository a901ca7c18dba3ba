"""Schedules of messages when the server is killed between any two writes of a firing.

strace kills it as the log's writer enters a call: a write, so that a record is not there, or a
sync, so that it is there and nobody was told. It counts calls for each thread on its own, so the
schedule is put so often that only the writer comes so far (see `test_faults`). The batches after
that are the message, how far the schedule has come, and what became of the message.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.testing.process import ServerProcess
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.effort import each
from tests.simulation.workload import base_seed

pytestmark = [pytest.mark.crash, pytest.mark.strace]

PUT = 20
FAULTS = [
    f"{call}:signal=KILL:when={PUT + n}" for n in (1, 2, 3) for call in ("pwrite64", "fdatasync")
]
SECONDS = 240.0
"""A minute until it fires, and time for a slow machine."""


@pytest.fixture
def strace() -> tuple[str, ...]:
    """The beginning of a command that kills what runs under it."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    command = (program, "-f", "-qqq", "-o", "/dev/null")  # --seccomp-bpf injects no signals
    trial = [*command, "-e", "trace=fdatasync", "true"]
    result = subprocess.run(trial, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        pytest.skip(f"strace may not attach here: {result.stderr.strip()}")
    return command


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A destination that answers 200."""
    receivers = Receivers()
    with receivers.open() as made:
        yield made
    receivers.close()


def asked(server: ServerProcess, method: str, verb: str = "", send: Any = None) -> dict[str, Any]:
    """Ask the API for the schedule, or change it."""
    host, port = server.api
    made = urllib.request.Request(
        f"http://{host}:{port}/v1/schedules/often{verb}",
        method=method,
        data=None if send is None else json.dumps(send).encode("ascii"),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(made, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def minute(instant: str) -> int:
    """The minute of an instant, since the epoch."""
    return int(datetime.fromisoformat(instant).timestamp()) // 60


def test_message_of_a_firing_is_made_once_whenever_the_server_is_killed(
    tmp_path: Path, strace: tuple[str, ...], receiver: Receiver
) -> None:
    """Every minute one, whether the server was killed before the message was stored, after it,
    or before or after its schedule knew of it; what becomes of it is known afterwards."""

    def play(fault: str) -> int:
        """How many messages there were, when the server was killed by this."""
        directory = tmp_path / fault.replace(":", "-")
        directory.mkdir()
        plan = {
            "cron": "* * * * *",
            "destination": f"http://{receiver.authority}",
            "target": f"/{fault}",
            "catch_up": "all",
        }
        call, _, _ = fault.partition(":")
        wrapped = (*strace, "-e", f"trace={call}", "-e", f"inject={fault}")
        with ServerProcess(directory, wrapped, SECONDS) as server:
            for _ in range(PUT):
                first = asked(server, "PUT", send=plan)["next_at"]
            assert server.wait()
        with ServerProcess(directory) as server:
            eventually(lambda: (asked(server, "GET")["last"] or {}).get("state") == "delivered")
            asked(server, "POST", "/pause")
            eventually(lambda: asked(server, "GET")["last"]["state"] == "delivered")
            last = asked(server, "GET")["last"]
        ids = {
            sent.headers["x-dispatcher-message-id"]
            for sent in receiver.requests
            if sent.head.startswith(f"POST /{fault} ".encode("ascii"))
        }
        assert last["id"] in ids
        assert len(ids) == minute(last["at"]) - minute(first) + 1
        return len(ids)

    stride = each(4)
    faults = FAULTS[base_seed() % stride :: stride]
    with ThreadPoolExecutor(len(faults)) as pool:
        assert all(pool.map(play, faults))

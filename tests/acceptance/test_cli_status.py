"""`dispatcher status`: what is wrong first, and an exit code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

from dispatcher.testing.destination import answer
from tests.acceptance.receiver import Receivers, eventually
from tests.acceptance.running import accept, quick, run
from tests.acceptance.served import ServerProcess


def test_status_ends_as_the_server_is(tmp_path: Path, receivers: Receivers) -> None:
    """0 while nothing is an error, though a hold is a warning; 1 once a destination fails and
    messages wait for it; 7 when nobody answers. With --json it is the same overview."""
    with (
        ServerProcess(tmp_path, **quick(RETRY_MAX_DELAY="1h")) as server,
        receivers.open() as rested,
        receivers.open() as down,
    ):
        where = {"DISPATCHER_API": "http://{}:{}".format(*server.api)}
        well = run(tmp_path, "status", **where)
        assert (well.returncode, well.stderr) == (0, "")
        assert well.stdout.startswith("ok       Nothing is wrong.\n\nserver:        dispatcher ")

        assert run(tmp_path, "hold", rested.authority, **where).returncode == 0
        accept(server, rested)
        warned = run(tmp_path, "status", **where)
        assert warned.returncode == 0
        assert warned.stdout.startswith(f"warning  An operator holds http://{rested.authority};")

        down.script(*[answer(503)] * 1000)
        for _ in range(12):
            accept(server, down)

        def failing() -> str | None:
            told = run(tmp_path, "status", **where)
            return told.stdout if told.returncode == 1 else None

        first, second, *_ = (eventually(failing) or "").splitlines()
        assert first.startswith(f"error    http://{down.authority} has been failing")
        assert second.startswith("warning  ")
        told = run(tmp_path, "status", "--json", **where)
        assert told.returncode == 1
        assert json.loads(told.stdout)["problems"][0]["slug"] == "destination_failing"
    assert run(tmp_path, "status", **where).returncode == 7

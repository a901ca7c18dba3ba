"""What stands in examples/ does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dispatcher.testing.ports import KeptPort
from tests.acceptance.receiver import eventually
from tests.acceptance.running import ROOT, metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, post


def test_service_of_the_readme_takes_and_prints_a_message(tmp_path: Path) -> None:
    """Any method, with its headers and body."""
    kept = KeptPort()
    port = kept.number
    command = [sys.executable, str(ROOT / "examples/service.py"), str(port)]
    with (
        kept,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service,
        ServerProcess(tmp_path, **quick()) as server,
    ):
        assert service.stdout is not None
        assert service.stdout.readline() == f"http://localhost:{port}\n"
        ask(server.listen, post(f"localhost:{port}", path="/orders", body=b'{"id": 7}'))
        eventually(lambda: metrics(server)["dispatcher_messages_delivered_total"] == 1)
        service.terminate()
        printed = service.stdout.read()
    assert "POST /orders HTTP/1.1\n" in printed
    assert "X-Dispatcher-Attempt: 1\n" in printed
    assert '{"id": 7}\n' in printed

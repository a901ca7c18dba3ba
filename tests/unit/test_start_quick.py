"""What a start leaves for later: nobody waits for what the first requests may never need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def _run(code: str, environ: dict[str, str] | None = None) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_start_builds_no_validators_and_loads_no_certificates_parser() -> None:
    """Models of the API are built when a request first needs them, and the parser of certificates
    is loaded only where there is one."""
    code = """
import json, sys
import dispatcher.cli.serve
import dispatcher.node.process
from dispatcher.api.models import Input, Output

def below(model):
    for one in model.__subclasses__():
        yield one
        yield from below(one)

models = [*below(Input), *below(Output)]
print(json.dumps({
    "models": len(models),
    "built": [one.__name__ for one in models if one.__pydantic_complete__],
    "parser": "cryptography.x509" in sys.modules,
}))
"""
    found = json.loads(_run(code))
    assert found["models"] > 50
    assert found["built"] == ["Nothing"], "this one is used at once, to say that there is nothing"
    assert not found["parser"]


def test_collector_is_off_while_a_server_is_imported_and_on_when_it_starts(tmp_path: Path) -> None:
    """No collection goes through what is being imported; a server at work has its collector."""
    code = """
import asyncio, gc, sys
from dispatcher.cli.running import run

class Watch:
    def find_spec(self, name, path, target=None):
        if name == "dispatcher.node.process":
            print("imported with", gc.isenabled())

def serve(_, server):
    server.close()
    print("served with", gc.isenabled())
    return 0

asyncio.Runner.run = serve
sys.meta_path.insert(0, Watch())
sys.exit(run(["serve"]))
"""
    places = {
        "TRANSACTION_LOG": str(tmp_path / "log"),
        "DEAD_LETTER": str(tmp_path / "dead"),
        "LOG_LEVEL": "error",
    }
    assert _run(code, places).split("\n")[:2] == ["imported with False", "served with True"]

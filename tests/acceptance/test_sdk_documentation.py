"""What docs/functions.md shows runs as it stands, and prints what is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.testing.ports import KeptPort
from tests.acceptance.running import ROOT
from tests.acceptance.served import ServerProcess

_PAGE = (ROOT / "docs" / "functions.md").read_text()
_SHOWN = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)
_SECONDS = 60


def _snippets() -> Iterator[object]:
    """Each program of the page, and what it prints, by the heading that it stands under."""
    for found in _SHOWN.finditer(_PAGE):
        heading = re.findall(r"^## (.*)$", _PAGE[: found.start()], re.M)[-1]
        yield pytest.param(found[1], found[2] or "", id=heading.replace(" ", "-"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server, and its address."""
    place = tmp_path_factory.mktemp("server")
    with ServerProcess(place, CALL_RETRY_DELAY="50", EGRESS="any") as server:
        host, port = server.api
        yield f"http://{host}:{port}"


@pytest.mark.parametrize(("source", "printed"), list(_snippets()))
def test_snippet_prints_what_the_page_says(
    source: str, printed: str, api: str, tmp_path: Path
) -> None:
    """Run as a program, with nothing but the five settings."""
    (tmp_path / "app.py").write_text(source)
    port = KeptPort()
    address = f"127.0.0.1:{port.number}"
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "DISPATCH_API_URL": api, "DISPATCH_API_KEY": "any"}
        | {"DISPATCH_ENDPOINT_URL": f"http://{address}", "DISPATCH_ENDPOINT_ADDR": address},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert (ended.returncode, ended.stdout) == (0, printed), ended.stderr


def test_page_has_snippets() -> None:
    """The pattern finds them."""
    assert _PAGE.count("\n```python\n") == len(list(_snippets())) > 5

"""A program that ends because of its settings or its server prints one line, and no traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.served import ServerProcess

_APPLICATION = """\
import asyncio
import dispatcher.sdk as dispatch

@dispatch.function
async def greet(name: str) -> str:
    return name

app = dispatch.Dispatch(greet)

async def main():
    await greet("Ada")

asyncio.run(main())
"""


def _ended(directory: Path, code: str = _APPLICATION, **settings: str) -> list[str]:
    """Run it with these variables until it fails; return the lines that it printed."""
    (directory / "app.py").write_text(code)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCH_")}
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=directory,
        env={**ours, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_wrong_setting_is_one_line_where_the_application_is_made(tmp_path: Path) -> None:
    """Of a variable that is read at module level."""
    assert _ended(tmp_path, DISPATCH_API_URL="localhost:8081") == [
        "app.py:8: DISPATCH_API_URL is 'localhost:8081': write the URL of the server's API, "
        "such as http://127.0.0.1:8081"
    ]


def test_missing_setting_is_one_line_where_a_call_is_made(tmp_path: Path) -> None:
    """It is needed only there."""
    [line] = _ended(tmp_path)
    assert line.startswith("app.py:11: DISPATCH_API_URL is not set: write the URL of the server's")
    assert "`dispatcher run -- COMMAND` sets it" in line


SETTINGS = {"API_KEYS": "a key"}


def test_key_that_the_server_does_not_know_is_one_line(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Which says where the key came from, and does not show it."""
    host, port = server.api
    [line] = _ended(
        tmp_path,
        DISPATCH_API_URL=f"http://{host}:{port}",
        DISPATCH_API_KEY="another-one",
        DISPATCH_ENDPOINT_URL="http://127.0.0.1:1",
    )
    assert re.fullmatch(
        r"app\.py:11: http://\S+ does not know the key that DISPATCH_API_KEY has: write one of "
        r"API_KEYS of the server\.",
        line,
    )


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    """They are mistakes of the code."""
    lines = _ended(tmp_path, _APPLICATION.partition("async def main")[0] + "1 / 0\n")
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: division by zero"

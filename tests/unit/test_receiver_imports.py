"""What an application needs to have installed that imports the receiver: nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys

class Bare:
    '''An environment in which nothing is installed.'''

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top.startswith("_sysconfigdata"):  # of the standard library too, named by the machine
            return
        if top not in sys.stdlib_module_names | {"dispatcher"}:
            raise ModuleNotFoundError(f"{name} is not installed")

sys.meta_path.insert(0, Bare())
"""

USE = """
import asyncio, sys
from dispatcher.receiver import *

store = SqliteStore(sys.argv[1])
for _ in range(2):
    with once(store, "message") as first:
        print(first)
secret = "whsec_c2VjcmV0"
print(verify(secret, sign(secret, "message", b"body"), b"body"))

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})

async def main():
    receiver = AsgiReceiver(app, secrets=secret, store=store)
    body = b"body"
    headers = [(n.encode(), v.encode()) for n, v in sign(secret, "another", body).items()]
    async def receive():
        return {"type": "http.request", "body": body}
    async def send(message):
        print(message.get("status", ""), end="")
    for _ in range(2):
        await receiver({"type": "http", "path": "/", "headers": headers}, receive, send)
asyncio.run(main())
"""


def run(program: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bare_interpreter_imports_and_uses_the_receiver(tmp_path: object) -> None:
    """The standard library is enough."""
    assert run(PROGRAM + USE, f"{tmp_path}/received.db") == "True\nFalse\nmessage\n204200"


def test_the_bare_interpreter_of_this_test_is_bare() -> None:
    """Else the test before would show nothing."""
    for name in ("aiohttp", "google.protobuf", "cryptography", "uvloop"):
        with pytest.raises(AssertionError, match="is not installed"):
            run(f"{PROGRAM}import {name}")


def test_importing_the_receiver_loads_nothing_else_of_ours() -> None:
    """Neither the server nor the SDK, where all is installed."""
    loaded = run(
        "import sys, dispatcher.receiver\n"
        "print(*{'.'.join(n.split('.')[:2]) for n in sys.modules if n.startswith('dispatcher.')})"
    )
    assert set(loaded.split()) == {
        "dispatcher.errors",
        "dispatcher.protocol",
        "dispatcher.receiver",
    }


def test_the_receiver_has_all_that_it_says_it_has() -> None:
    """Each name once."""
    run(
        "import dispatcher.receiver as r; names = r.__all__\n"
        "assert len(set(names)) == len(names)\n"
        "assert [name for name in names if not hasattr(r, name)] == []"
    )

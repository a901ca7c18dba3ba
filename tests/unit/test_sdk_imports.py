"""What an application needs to have installed that imports the SDK."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

PROGRAM = """
import sys

KNOWN = sys.stdlib_module_names | {"dispatcher", "google", "cryptography", "_cffi_backend"}

class Bare:
    '''An environment in which nothing else is installed.'''

    def find_spec(self, name, path=None, target=None):
        top, _, rest = name.partition(".")
        if top.startswith("_sysconfigdata"):  # of the standard library too, named by the machine
            return
        if top not in KNOWN or (top == "google" and rest and rest.split(".")[0] not in GOOGLE):
            raise ModuleNotFoundError(f"{name} is not installed")

GOOGLE = ("protobuf", "_upb")
sys.meta_path.insert(0, Bare())
"""

USE = """
import dispatcher.sdk as dispatch

@dispatch.function
async def greet(name: str) -> str:
    return name

@dispatch.function
async def welcome(names: list[str]) -> list[str]:
    await dispatch.sleep(60)
    await dispatch.http.get("http://example.com")
    return await greet.gather(names)

app = dispatch.Dispatch(greet, welcome, endpoint_url="http://127.0.0.1:1", api_key="k",
                        verification_key="A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")
assert "durable" in dispatch.describe(welcome)
welcome.build_call(["Ada"])
app.close()
"""

HOST = "\nimport asyncio; asyncio.run(asyncio.sleep(0))\n"


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bare_interpreter_imports_the_sdk() -> None:
    """The standard library, protobuf and cryptography are enough, also to make an application, and
    for it to be told what its functions are."""
    run(PROGRAM + USE + HOST)


def test_the_bare_interpreter_of_this_test_is_bare() -> None:
    """Else the test before would show nothing."""
    with pytest.raises(AssertionError, match="aiohttp is not installed"):
        run(PROGRAM + "import aiohttp")


def test_importing_the_sdk_loads_nothing_that_it_may_never_need() -> None:
    """Where all is installed: each of these takes long to import, and aiohttp half a second."""
    loaded = run(USE + "import sys; print(*{name.split('.')[0] for name in sys.modules})").split()

    assert {"aiohttp", "pydantic", "structlog", "uvloop", "rich", "typer"}.isdisjoint(loaded)


def test_the_sdk_has_all_that_it_says_it_has() -> None:
    """Each name once, in order, and nothing else by a star."""
    run(
        "import dispatcher.sdk as d; names = d.__all__\n"
        "assert sorted(set(names)) == sorted(names)\n"
        "assert [name for name in names if not hasattr(d, name)] == []"
    )


def test_every_module_of_the_sdk_is_imported_where_there_is_no_uvloop() -> None:
    """As on Windows: applications are served by asyncio's own loop there."""
    run(
        "import sys; sys.modules['uvloop'] = None\n"
        "import asyncio, importlib, pkgutil\n"
        "import dispatcher.sdk\n"
        "for each in pkgutil.walk_packages(dispatcher.sdk.__path__, 'dispatcher.sdk.'):\n"
        "    importlib.import_module(each.name)\n"
        "from dispatcher.sdk.serving.serve import _runner\n"
        "with _runner() as runner:\n"
        "    assert isinstance(runner.get_loop(), asyncio.BaseEventLoop)\n"
    )


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed.")
def test_applications_are_served_by_uvloop_where_there_is_one() -> None:
    """Else the test before would show nothing."""
    run(
        "import uvloop\n"
        "from dispatcher.sdk.serving.serve import _runner\n"
        "with _runner() as runner:\n"
        "    assert isinstance(runner.get_loop(), uvloop.Loop)\n"
    )

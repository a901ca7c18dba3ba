"""What an application says when it begins to answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.protocol.keys import new_private_key
from dispatcher.sdk.config import Address, Config
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving.asgi import Asgi
from dispatcher.sdk.serving.serve import serving
from dispatcher.sdk.serving.telling import block
from dispatcher.sdk.serving.wsgi import Wsgi

_HERE = Address("127.0.0.1", 8000)
_EVERYWHERE = Address("0.0.0.0", 8000)
_NO_API = (
    "DISPATCH_API_URL is not set: calls can't be dispatched from here, only runs of a server that "
    "knows this address are answered. `dispatcher run -- COMMAND` sets it."
)
_NO_KEY = (
    "DISPATCH_VERIFICATION_KEY is not set: runs of anybody who reaches this address are answered. "
    "`dispatcher keys show` prints it on the server."
)
_API = "http://127.0.0.1:8081"


class App:
    """Has two functions."""

    def __init__(self, **config: Any) -> None:
        self.config = Config(**config)

    def describe(self) -> Sequence[str]:
        """Both."""
        return ["greet, app.py:3\n  plain: it is not async", "welcome, app.py:8\n  durable: why"]

    async def handle(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer:
        """Answer anything."""
        return Answer(200, (), b"ok")


_FUNCTIONS = """\
  greet, app.py:3
    plain: it is not async
  welcome, app.py:8
    durable: why"""


@pytest.mark.parametrize(
    ("config", "address", "hints"),
    [
        ({"api_url": _API}, _HERE, []),
        ({}, _HERE, [_NO_API]),
        ({"api_url": _API}, _EVERYWHERE, [_NO_KEY]),
        ({"api_url": _API, "endpoint_url": "http://127.0.0.1:8000"}, _EVERYWHERE, [_NO_KEY]),
        ({"api_url": _API, "endpoint_url": "bridge://x"}, _EVERYWHERE, [_NO_KEY]),
        ({}, _EVERYWHERE, [_NO_API, _NO_KEY]),
        # Dispatch(…) has warned of it.
        ({"api_url": _API, "endpoint_url": "http://shop:8000"}, _EVERYWHERE, []),
        ({"verification_keys": (new_private_key().public_key(),)}, _EVERYWHERE, [_NO_API]),
    ],
)
def test_functions_are_shown_with_a_line_for_each_setting_that_is_missing(
    config: dict[str, Any], address: Address, hints: list[str]
) -> None:
    """Where the application listens, what its functions were judged to be, and why."""
    listening = f"Listening at http://{address}, with 2 functions"
    assert block(App(**config), address).split("\n") == [
        listening,
        *_FUNCTIONS.split("\n"),
        *hints,
    ]


async def test_functions_are_shown_beside_what_a_block_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr: the block's own output may be read by a program."""
    async with serving(App(api_url=_API, address=Address("127.0.0.1", 0))) as address:
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"Listening at http://{address}, with 2 functions\n{_FUNCTIONS}\n"


async def _asked_of_asgi() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.shutdown"}

    async def send(message: Any) -> None: ...

    asgi = Asgi(App())
    await asgi({"type": "lifespan"}, receive, send)
    http = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    await asgi(http, receive, send)


async def _asked_of_wsgi() -> None:
    wsgi = Wsgi(App())
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    for _ in range(2):
        wsgi(environ, lambda *_: None)


@pytest.mark.parametrize("ask", [_asked_of_asgi, _asked_of_wsgi])
async def test_functions_are_in_the_log_once_where_another_server_listens(
    ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """When it starts or asks first; for whoever shows lines of level INFO."""
    caplog.set_level(logging.INFO, "dispatcher.sdk")
    await ask()
    assert caplog.messages == [f"Answering runs of 2 functions\n{_FUNCTIONS}"]

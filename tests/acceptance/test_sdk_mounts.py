"""Web applications with functions in them, and a real server that signs its runs: what a page
dispatches is run by the same application, wherever it is mounted."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import pytest

import dispatcher.sdk as dispatch
from dispatcher.protocol.keys import new_private_key, private_key_pem, public_key_base64
from dispatcher.testing.ports import KeptPort
from tests.acceptance.served import ServerProcess


class Settings(TypedDict):
    """What an application needs to know of a server."""

    api_url: str
    api_key: str
    verification_key: str


@dispatch.function
async def hello(name: str) -> str:
    """Plain."""
    return f"Hello, {name}!"


@dispatch.function
async def hello_all(names: list[str]) -> list[str]:
    """Durable."""
    return await hello.gather(names)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Those of a server that runs."""
    directory: Path = tmp_path_factory.mktemp("server")
    key = new_private_key()
    signing = directory / "signing.pem"
    signing.write_bytes(private_key_pem(key))
    signing.chmod(0o600)
    with ServerProcess(
        directory, API_KEYS="shop:dispatch:secret", CALL_RETRY_DELAY="50", SIGNING_KEY=str(signing)
    ) as server:
        host, port = server.api
        yield {
            "api_url": f"http://{host}:{port}",
            "api_key": "secret",
            "verification_key": public_key_base64(key.public_key()),
        }


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that nobody else gets: the address of an application is known before it listens."""
    with KeptPort() as port:
        yield port.number


def page(port: int, path: str) -> str:
    """Look at a page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
        return text.strip('"')


@contextmanager
def uvicorn_at(application: Any, port: int) -> Iterator[None]:
    """Serve an application of ASGI until the test is over."""
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(application, "127.0.0.1", port, log_level="error"))
    began = threading.Event()

    async def main() -> None:
        task = asyncio.create_task(server._serve(None))
        while not server.started:
            assert not task.done(), "it could not start"
            await asyncio.sleep(0.005)
        began.set()
        await task

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert began.wait(20)
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def werkzeug_at(application: Any, port: int) -> Iterator[None]:
    """Serve an application of WSGI, in threads, until the test is over."""
    serving = pytest.importorskip("werkzeug.serving")
    server = serving.make_server("127.0.0.1", port, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_page_of_fastapi_dispatches_what_the_same_application_runs(
    settings: Settings, free_port: int
) -> None:
    """Behind a path of its own."""
    api = pytest.importorskip("fastapi").FastAPI()
    app = dispatch.Dispatch(
        hello, hello_all, endpoint_url=f"http://127.0.0.1:{free_port}/functions", **settings
    )

    async def start(names: str) -> str:
        return (await hello_all.dispatch(names.split(","))).id

    async def wait(names: str) -> list[str]:
        return await hello_all(names.split(","))

    dispatch.fastapi.mount(api, app)
    api.add_api_route("/start", start)
    api.add_api_route("/wait", wait)
    with uvicorn_at(api, free_port):
        number = page(free_port, "/start?names=Ada,Alan")
        handle = app.sync_client.handle(number, returns=list[str])
        assert handle.result(timeout=30) == ["Hello, Ada!", "Hello, Alan!"]
        assert page(free_port, "/wait?names=Eve") == '["Hello, Eve!"]'
    app.sync_client.close()
    app.close()


def test_page_of_flask_dispatches_what_the_same_application_runs(
    settings: Settings, free_port: int
) -> None:
    """From code that is not async, as often as it likes: by blocking, or with an event loop for
    each request, which is closed after it."""
    flask = pytest.importorskip("flask")
    api = flask.Flask("shop")
    app = dispatch.Dispatch(
        hello, hello_all, endpoint_url=f"http://127.0.0.1:{free_port}", **settings
    )

    def blocking() -> str:
        return ", ".join(hello_all.dispatch_sync(["Ada", "Alan"]).result(timeout=30))

    def looping() -> str:
        async def run() -> str:
            return await (await hello.dispatch("Eve")).result(timeout=30)

        return asyncio.run(run())

    dispatch.flask.mount(api, app)
    api.add_url_rule("/blocking", view_func=blocking)
    api.add_url_rule("/looping", view_func=looping)
    with werkzeug_at(api, free_port):
        for _ in range(3):
            assert page(free_port, "/blocking") == "Hello, Ada!, Hello, Alan!"
            assert page(free_port, "/looping") == "Hello, Eve!"
    app.sync_client.close()
    app.close()

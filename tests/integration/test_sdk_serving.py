"""Applications of the SDK behind servers and in web applications of others: each gets a run as it
was sent, so that its signature holds, and answers it. On loopback."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import Any, TextIO

import pytest
from aiohttp import web

from dispatcher.protocol.connect import ConnectError
from dispatcher.protocol.keys import new_private_key
from dispatcher.protocol.signing import Signer, content_digest
from dispatcher.protocol.verifying import Verifier
from dispatcher.sdk.config import Address, Config
from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving import mounts
from dispatcher.sdk.serving.asgi import Asgi
from dispatcher.sdk.serving.mounts import aiohttp as aiohttp_mount
from dispatcher.sdk.serving.mounts import django as django_mount
from dispatcher.sdk.serving.mounts import fastapi as fastapi_mount
from dispatcher.sdk.serving.mounts import flask as flask_mount
from dispatcher.sdk.serving.mounts import starlette as starlette_mount
from dispatcher.sdk.serving.serve import serve_async, serving
from dispatcher.sdk.serving.wsgi import Wsgi

_RUN = "/dispatch.sdk.v1.FunctionService/Run"
_KEY = new_private_key()


class Verifies:
    """An application that answers a run with a digest of its body, after a look at its signature.
    Its endpoint is at `path`. `threads` are those it was asked in."""

    def __init__(self, path: str = "") -> None:
        self.config = Config(
            endpoint_url=f"http://app.example{path}", address=Address("127.0.0.1", 0)
        )
        self.seen: list[tuple[str, str]] = []
        self.loops: set[int] = set()
        self._verifier = Verifier([_KEY.public_key()])

    def describe(self) -> Sequence[str]:
        """One function."""
        return ["greet: plain, it is not async"]

    async def handle(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Answer:
        """Look at the signature, and answer."""
        self.seen.append((method, path))
        self.loops.add(id(asyncio.get_running_loop()))
        if method != "POST" or not path.endswith(_RUN):
            return Answer(404, [("Content-Type", "text/plain")], b"nothing here")
        named = {name.lower(): value for name, value in headers}
        try:
            self._verifier.verify(
                method=method,
                target=path,
                host=named["host"],
                headers=headers,
                body=body,
                now_s=time.time(),
            )
        except ConnectError as error:
            return Answer(error.http_status, [("Content-Type", "application/json")], error.body())
        await asyncio.sleep(0)
        digest = hashlib.sha256(body).hexdigest().encode()
        return Answer(200, [("Content-Type", "application/proto")], digest)


Serves = Callable[[Verifies], AbstractContextManager[int]]
"""Serves an application, and says at which port."""


@contextmanager
def _in_a_loop(serve: Callable[[asyncio.Event, asyncio.Future[int]], Any]) -> Iterator[int]:
    """Run what serves in a thread with an event loop, until the test is over."""
    begun = threading.Event()
    state: dict[str, Any] = {}

    async def main() -> None:
        state["loop"], state["end"] = asyncio.get_running_loop(), asyncio.Event()
        port: asyncio.Future[int] = state["loop"].create_future()
        task = asyncio.create_task(serve(state["end"], port))
        state["port"] = await port
        begun.set()
        await task

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert begun.wait(20)
    try:
        yield state["port"]
    finally:
        state["loop"].call_soon_threadsafe(state["end"].set)
        thread.join()


def _asgi(application: Any) -> AbstractContextManager[int]:
    """Under uvicorn."""
    uvicorn = pytest.importorskip("uvicorn")

    async def serve(end: asyncio.Event, port: asyncio.Future[int]) -> None:
        config = uvicorn.Config(application, "127.0.0.1", 0, log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve(None))
        while not server.started:
            assert not task.done(), "it could not start"
            await asyncio.sleep(0.005)
        port.set_result(server.servers[0].sockets[0].getsockname()[1])
        await end.wait()
        server.should_exit = True
        await task

    return _in_a_loop(serve)


@contextmanager
def _wsgi(application: Any) -> Iterator[int]:
    """Under Werkzeug's server, in threads."""
    serving = pytest.importorskip("werkzeug.serving")
    server = serving.make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asgi(app: Verifies) -> AbstractContextManager[int]:
    """By itself, under ASGI."""
    return _asgi(Asgi(app))


def wsgi(app: Verifies) -> AbstractContextManager[int]:
    """By itself, under WSGI."""
    return _wsgi(Wsgi(app))


def own(app: Verifies) -> AbstractContextManager[int]:
    """With its own listener."""

    async def serve(end: asyncio.Event, port: asyncio.Future[int]) -> None:
        listening = asyncio.create_task(serve_async(app))
        while not app.__dict__.get("bound"):
            assert not listening.done(), "it could not start"
            await asyncio.sleep(0.005)
        port.set_result(app.__dict__["bound"])
        await end.wait()
        listening.cancel()
        await asyncio.wait([listening])

    return _in_a_loop(serve)


def in_a_block(app: Verifies) -> AbstractContextManager[int]:
    """With its own listener, for as long as a block runs."""

    async def serve(end: asyncio.Event, port: asyncio.Future[int]) -> None:
        async with serving(app) as address:
            port.set_result(address.port)
            await end.wait()

    return _in_a_loop(serve)


def in_fastapi(app: Verifies) -> AbstractContextManager[int]:
    """In an application of FastAPI."""
    api = pytest.importorskip("fastapi").FastAPI()

    async def hello() -> str:
        return "hello"

    fastapi_mount.mount(api, app)
    api.add_api_route("/hello", hello)
    return _asgi(api)


def in_starlette(app: Verifies) -> AbstractContextManager[int]:
    """In an application of Starlette, which is mounted in another."""
    applications = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")

    async def hello(request: Any) -> Any:
        return responses.PlainTextResponse("hello")

    inner, outer = applications.Starlette(), applications.Starlette()
    outer.add_route("/hello", hello)
    path = app.config.endpoint_url.partition("app.example")[2] if app.config.endpoint_url else ""
    starlette_mount.mount(inner, app, path="")
    outer.mount(path, inner)
    return _asgi(outer)


def in_aiohttp(app: Verifies) -> AbstractContextManager[int]:
    """In an application of aiohttp."""

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def serve(end: asyncio.Event, port: asyncio.Future[int]) -> None:
        api = web.Application()
        aiohttp_mount.mount(api, app)
        api.router.add_get("/hello", hello)
        runner = web.AppRunner(api)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port.set_result(runner.addresses[0][1])
        await end.wait()
        await runner.cleanup()

    return _in_a_loop(serve)


def in_flask(app: Verifies) -> AbstractContextManager[int]:
    """In an application of Flask, which takes small bodies only."""
    api = pytest.importorskip("flask").Flask("shop")
    api.config["MAX_CONTENT_LENGTH"] = 1000
    api.add_url_rule("/hello", view_func=lambda: "hello", endpoint="hello")
    flask_mount.mount(api, app)
    return _wsgi(api)


def _django(app: Verifies) -> None:
    """Django with one project in the process: each test gives it its own urls."""
    django = pytest.importorskip("django")
    conf = pytest.importorskip("django.conf")
    if not conf.settings.configured:
        conf.settings.configure(
            ROOT_URLCONF="shop_urls",
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="x",
            MIDDLEWARE=[
                "django.middleware.common.CommonMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
            ],
        )
        django.setup()
    urls = pytest.importorskip("django.urls")
    response = pytest.importorskip("django.http").HttpResponse
    project = ModuleType("shop_urls")
    patterns = [urls.path("hello", lambda _: response("hello"))]
    django_mount.mount(patterns, app)
    project.urlpatterns = patterns  # type: ignore[attr-defined] # what Django looks for
    conf.settings.ROOT_URLCONF = project
    urls.clear_url_caches()
    urls.set_urlconf(None)


def in_django(app: Verifies) -> AbstractContextManager[int]:
    """In a project of Django, under WSGI."""
    _django(app)
    return _wsgi(pytest.importorskip("django.core.wsgi").get_wsgi_application())


def in_django_asgi(app: Verifies) -> AbstractContextManager[int]:
    """In a project of Django, under ASGI."""
    _django(app)
    get = pytest.importorskip("django.core.asgi").get_asgi_application
    application = get()

    async def without_lifespan(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await application(scope, receive, send)
        else:
            await Asgi(app)(scope, receive, send)

    return _asgi(without_lifespan)


ALONE = [asgi, wsgi, own, in_a_block]
MOUNTED = [in_fastapi, in_starlette, in_aiohttp, in_flask, in_django, in_django_asgi]


@pytest.fixture(autouse=True)
def _where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve_async` tells it; here the application is told too."""
    from dispatcher.sdk.serving import serve

    tell = serve._tell

    def told(app: Any, address: Address, where: TextIO) -> None:
        tell(app, address, where)
        app.bound = address.port

    monkeypatch.setattr(serve, "_tell", told)


def post(port: int, path: str, body: bytes, *, signed_as: str | None = None) -> tuple[int, bytes]:
    """Send a run that is signed for its path, or another; status and body of the answer."""
    host = f"127.0.0.1:{port}"
    target = Signer(_KEY).target(host, signed_as or path)
    signed = target.sign(content_digest(body), int(time.time()))
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/proto")
    connection.putheader("Content-Length", str(len(body)))
    for name, value in zip(("Content-Digest", "Signature-Input", "Signature"), signed, strict=True):
        connection.putheader(name, value)
    connection.endheaders(body)
    with connection.getresponse() as response:
        found = response.status, response.read()
    connection.close()
    return found


def ask(port: int, method: str, path: str, head: dict[str, str], body: bytes = b"") -> Any:
    """Send a request as it is; status and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path)
    for name, value in head.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    with connection.getresponse() as response:
        found = response.status, response.read()
    connection.close()
    return found


@pytest.mark.parametrize("path", ["", "/shop/a%20b%2Fc"])
@pytest.mark.parametrize("serves", ALONE)
def test_run_is_verified_over_the_path_that_was_used(serves: Serves, path: str) -> None:
    """Also where it is encoded: what is signed are the bytes of the request line. A body of 16 MB
    comes whole, and one after the other over one connection does too."""
    app = Verifies(path)
    with serves(app) as port:
        for body in (b"", b"small", bytes(100 if path else 16_000_000)):
            digest = hashlib.sha256(body).hexdigest().encode()
            assert post(port, path + _RUN, body) == (200, digest)
        status, _ = post(port, path + _RUN, b"small", signed_as="/other" + _RUN)
        assert status == 403
    assert app.seen == [("POST", path + _RUN)] * 4


@pytest.mark.parametrize("path", ["", "/shop/functions"])
@pytest.mark.parametrize("serves", MOUNTED)
def test_mount_answers_runs_and_nothing_else(serves: Serves, path: str) -> None:
    """Behind the path of the endpoint, whatever the application's own limits of bodies; its other
    pages stay what they were."""
    app = Verifies(path)
    with serves(app) as port:
        for body in (b"", b"small", bytes(100 if path else 16_000_000)):
            digest = hashlib.sha256(body).hexdigest().encode()
            assert post(port, path + _RUN, body) == (200, digest)
        status, _ = post(port, path + _RUN, b"small", signed_as="/other" + _RUN)
        assert status == 403
        status, body = ask(port, "GET", "/hello", {})
        assert (status, body.strip(b'"')) == (200, b"hello")
        assert ask(port, "GET", "/nothing", {})[0] == 404
    assert app.seen == [("POST", path + _RUN)] * 4


@pytest.mark.parametrize("serves", [*ALONE, *MOUNTED])
def test_run_that_can_not_be_read_is_refused_for_good(serves: Serves) -> None:
    """Too large, or of unknown length: the server does not send it again. In Connect's words, and
    before the body is read, but where Django reads it whole before anybody is asked."""
    app = Verifies()
    sent = bytes(16_000_001) if serves is in_django_asgi else b""
    with serves(app) as port:
        status, body = ask(port, "POST", _RUN, {"Content-Length": "16000001"}, sent)
        assert status == 413
        assert body == (
            b'{"code": "resource_exhausted", "message": "The body has 16000001 bytes, and 16000000 '
            b'are the most that is read."}'
        )
        status, body = ask(port, "POST", _RUN, {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")
        assert status == 400
        assert body == (
            b'{"code": "invalid_argument", "message": "A run has a Content-Length; send one."}'
        )
    assert app.seen == []


@pytest.mark.parametrize("serves", [*ALONE, *MOUNTED])
def test_other_request_is_answered_by_the_application(serves: Serves) -> None:
    """Of the service, without a look at its body; alone, whatever it is about."""
    app = Verifies()
    path = _RUN.replace("Run", "Walk")
    with serves(app) as port:
        found = ask(port, "POST", f"{path}?a=%20b", {"Content-Length": "4"}, b"body")
        assert found == (404, b"nothing here")
    assert app.seen == [("POST", f"{path}?a=%20b")]


@pytest.mark.parametrize("serves", [wsgi, in_flask, in_django, in_django_asgi])
def test_functions_run_on_one_loop_behind_threads(serves: Serves) -> None:
    """What they keep (connections, locks) belongs to it."""
    app = Verifies()
    with serves(app) as port:
        threads = [threading.Thread(target=post, args=(port, _RUN, b"x")) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(app.seen) == 6
    assert len(app.loops) == 1


def test_mounts_are_told_by_name() -> None:
    """One module each."""
    assert mounts.__doc__ is not None
    for name in ("fastapi", "starlette", "aiohttp", "flask", "django"):
        assert f"dispatch.{name}.mount" in mounts.__doc__

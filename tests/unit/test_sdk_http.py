"""Durable requests over HTTP, against a service on the loopback."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import dispatcher.sdk as dispatch
from dispatcher.protocol.messages import CallResult, RunRequest, RunResponse
from dispatcher.protocol.signing import RUN_PATH
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.http import Response
from dispatcher.sdk.http.request import Request
from dispatcher.sdk.http.sending import MOST_BYTES
from dispatcher.sdk.values import decode
from dispatcher.sdk.wire import any_of, value_of

HEADERS = {"Content-Type": "application/proto", "Host": "app"}


@dispatch.function
async def fetch(url: str) -> str:
    response = await dispatch.http.get(url)
    return f"{response.status} {response.json()['name']}"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[dispatch.Dispatch]:
    for name in ("API_URL", "API_KEY", "ENDPOINT_URL", "ENDPOINT_ADDR", "VERIFICATION_KEY"):
        monkeypatch.delenv(f"DISPATCH_{name}", raising=False)
    made = dispatch.Dispatch(fetch)
    yield made
    made.close()


@pytest.fixture
async def service() -> AsyncIterator[TestServer]:
    """Answers with what was asked; `/status/CODE` with that code."""

    async def echo(request: web.Request) -> web.Response:
        asked = {
            "name": "Ada",
            "method": request.method,
            "query": request.raw_path.partition("?")[2],
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
        return web.json_response(asked)

    async def status(request: web.Request) -> web.Response:
        code = int(request.match_info["code"])
        headers = {"Retry-After": "7"} if code == 429 else {"X-Two": "1"}
        response = web.Response(status=code, body=b"no", headers=headers)
        response.headers.add("X-Two", "2")
        return response

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/echo")

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(MOST_BYTES + 1))

    application = web.Application()
    application.router.add_route("*", "/echo", echo)
    application.router.add_get("/status/{code}", status)
    application.router.add_get("/moved", moved)
    application.router.add_get("/large", large)
    server = TestServer(application)
    async with server:
        yield server


def built(call: dispatch.Call[Response]) -> BuiltCall[Response]:
    """The call, made in another way than by awaiting it."""
    return call.take()


async def run(app: dispatch.Dispatch, call: dispatch.Call[Response]) -> RunResponse:
    """What the application answers to a run of the call."""
    made = built(call)
    request = RunRequest(function=made.function, dispatch_id="id-1", input=any_of(made.input))
    answer = await app.handle("POST", RUN_PATH, HEADERS, request.SerializeToString())
    assert answer.status == 200
    return RunResponse.FromString(answer.body)


async def got(app: dispatch.Dispatch, call: dispatch.Call[Response]) -> Response:
    """The response that came of a run."""
    answer = await run(app, call)
    assert answer.status == Status.OK, answer
    return decode(value_of(answer.exit.result.output), Response)


async def test_a_request_is_made_as_it_was_asked_for(
    app: dispatch.Dispatch, service: TestServer
) -> None:
    """Method, query, headers and body; the answer has its JSON and its headers in lower case."""
    url = str(service.make_url("/echo?a=1"))
    response = await got(
        app,
        dispatch.http.post(url, params={"b": ["x y", 2]}, headers={"X-One": "1"}, json={"ü": [1]}),
    )

    asked = response.json()
    assert (asked["method"], asked["query"]) == ("POST", "a=1&b=x+y&b=2")
    assert asked["body"] == '{"ü": [1]}'
    assert asked["headers"]["x-one"] == "1"
    assert asked["headers"]["content-type"] == "application/json"
    assert response.ok
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.url == f"{url}&b=x+y&b=2"
    assert repr(response) == f"<Response 200, {len(response.body)} bytes>"


@pytest.mark.parametrize(
    ("method", "key"),
    [("get", None), ("put", None), ("delete", None), ("post", "id-1"), ("patch", "id-1")],
)
async def test_what_is_not_idempotent_has_a_key_that_stays_the_same(
    app: dispatch.Dispatch, service: TestServer, method: str, key: str | None
) -> None:
    """The call's id, in every try of it."""
    call = getattr(dispatch.http, method)(str(service.make_url("/echo")))

    asked = (await got(app, call)).json()

    assert asked["method"] == method.upper()
    assert asked["headers"].get("idempotency-key") == key


async def test_a_key_of_the_caller_is_left_alone(
    app: dispatch.Dispatch, service: TestServer
) -> None:
    """Whatever its case."""
    url = str(service.make_url("/echo"))
    call = dispatch.http.post(url, headers={"idempotency-KEY": "mine"}, data={"a": "1 2"})

    asked = (await got(app, call)).json()

    assert asked["headers"]["idempotency-key"] == "mine"
    assert asked["headers"]["content-type"] == "application/x-www-form-urlencoded"
    assert asked["body"] == "a=1+2"


@pytest.mark.parametrize("code", [201, 204, 304, 400, 401, 403, 404, 409, 501])
async def test_an_answer_that_trying_again_would_not_change_is_the_result(
    app: dispatch.Dispatch, service: TestServer, code: int
) -> None:
    """Errors too: the caller looks at them. Headers of one name are joined."""
    response = await got(app, dispatch.http.get(str(service.make_url(f"/status/{code}"))))

    assert response.status == code
    assert response.headers["x-two"] == "1, 2"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (408, Status.TIMEOUT),
        (429, Status.THROTTLED),
        (500, Status.TEMPORARY_ERROR),
        (503, Status.TEMPORARY_ERROR),
        (504, Status.TIMEOUT),
    ],
)
async def test_an_answer_that_may_be_better_later_is_tried_again(
    app: dispatch.Dispatch, service: TestServer, code: int, status: Status
) -> None:
    """By its status; the message has the URL without what may be a secret."""
    url = service.make_url(f"/status/{code}").with_user("me").with_password("secret")
    answer = await run(app, dispatch.http.get(f"{url}?token=secret"))

    assert answer.status == status
    plain = service.make_url(f"/status/{code}")
    assert answer.exit.result.error.message == f"{plain} answered {code}"


async def test_a_service_says_when_it_is_to_be_asked_again(
    app: dispatch.Dispatch, service: TestServer
) -> None:
    """Its Retry-After is the application's, which the server keeps to."""
    made = built(dispatch.http.get(str(service.make_url("/status/429"))))
    request = RunRequest(function=made.function, dispatch_id="1", input=any_of(made.input))
    answer = await app.handle("POST", RUN_PATH, HEADERS, request.SerializeToString())

    assert dict(answer.headers)["Retry-After"] == "7"


async def test_a_service_that_is_not_there_is_tried_again(app: dispatch.Dispatch) -> None:
    """TCP_ERROR."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        answer = await run(app, dispatch.http.get(f"http://127.0.0.1:{port}/"))

    assert answer.status == Status.TCP_ERROR


async def test_redirects_are_followed_unless_the_caller_says_no(
    app: dispatch.Dispatch, service: TestServer
) -> None:
    """The answer says where it came from."""
    url = str(service.make_url("/moved"))

    followed = await got(app, dispatch.http.get(url))
    left = await got(app, dispatch.http.get(url, follow_redirects=False))

    assert (followed.status, followed.url) == (200, str(service.make_url("/echo")))
    assert (left.status, left.headers["location"]) == (302, "/echo")


async def test_an_answer_that_is_no_result_for_its_size_ends_the_call(
    app: dispatch.Dispatch, service: TestServer
) -> None:
    """And says what to do."""
    url = str(service.make_url("/large"))
    answer = await run(app, dispatch.http.get(url))

    assert answer.status == Status.PERMANENT_ERROR
    assert answer.exit.result.error.message == (
        f"{url} answered more than 11,000,000 bytes, which is too much for a result: fetch it in a "
        "function of yours, store it, and return where it is"
    )


async def test_a_durable_function_gets_the_answer_from_its_record(
    app: dispatch.Dispatch, service: TestServer
) -> None:
    """A request is a call of its own: made once, and resumed with its response."""
    url = str(service.make_url("/echo"))
    request = RunRequest(function="fetch", dispatch_id="1", input=any_of(_input(url)))
    answer = await app.handle("POST", RUN_PATH, HEADERS, request.SerializeToString())
    poll = RunResponse.FromString(answer.body).poll
    (call,) = poll.calls
    assert call.function == "dispatch.http"

    child = RunRequest(function=call.function, dispatch_id="2", input=call.input)
    answer = await app.handle("POST", RUN_PATH, HEADERS, child.SerializeToString())
    result = RunResponse.FromString(answer.body).exit.result
    again = RunRequest(function="fetch", dispatch_id="1")
    again.poll_result.typed_coroutine_state.CopyFrom(poll.typed_coroutine_state)
    again.poll_result.results.append(
        CallResult(correlation_id=call.correlation_id, dispatch_id="2", output=result.output)
    )
    answer = await app.handle("POST", RUN_PATH, HEADERS, again.SerializeToString())

    last = RunResponse.FromString(answer.body)
    assert decode(value_of(last.exit.result.output), str) == "200 Ada"
    assert app.functions == (fetch,)


def _input(url: str) -> Any:
    return fetch.build_call(url).input


def test_who_names_it_is_durable() -> None:
    """As with every function of dispatch."""
    told = dispatch.describe(fetch)

    assert "durable" in told
    assert "dispatch.http.get" in told


def test_a_call_has_time_for_its_request() -> None:
    """A run of it may take ten seconds longer; its expiration is what the caller says."""
    options = built(dispatch.http.get("http://x/", timeout=90, expiration=3600)).options

    assert (options.timeout_us, options.expiration_us) == (100_000_000, 3_600_000_000)
    longest = built(dispatch.http.get("http://x/", timeout=10**6)).options
    assert longest.timeout_us == 86_400_000_000


@pytest.mark.parametrize(
    ("method", "url", "options", "error", "text"),
    [
        ("GET", "/x", {}, ValueError,
         "'/x' is no URL of HTTP: write https://example.com/path."),
        ("GET", "ftp://x/", {}, ValueError,
         "'ftp://x/' is no URL of HTTP: write https://example.com/path."),
        ("GET", 5, {}, TypeError, "a URL has to be a text, and is 5."),
        ("G T", "http://x", {}, ValueError,
         "'G T' is no method of HTTP: write \"GET\", \"POST\" and so on."),
        ("GET", "http://x", {"headers": {"a b": "c"}}, ValueError,
         "'a b' is no name of a header."),
        ("GET", "http://x", {"headers": {"a": "b\r\nc: d"}}, ValueError,
         "the header a has to be a text of one line, and is 'b\\r\\nc: d'."),
        ("POST", "http://x", {"data": b"", "json": None}, TypeError,
         "a request has one body: write json= or data=, not both."),
        ("POST", "http://x", {"data": 5}, TypeError,
         "data= has to be bytes, a text or a dict, and is 5."),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_where_it_is_written(
    method: str, url: str, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Not where it would be made."""
    with pytest.raises(error) as caught:
        dispatch.http.request(method, url, **options)

    assert str(caught.value) == text


def test_a_response_says_what_is_wrong_with_it() -> None:
    """As an exception of the kind that its status means."""
    missing = Response(404, {}, b"{", "http://x/")

    with pytest.raises(dispatch.NotFoundError, match="http://x/ answered 404"):
        missing.raise_for_status()
    with pytest.raises(dispatch.PermanentError):
        Response(409).raise_for_status()
    with pytest.raises(dispatch.InvalidResponseError, match="what http://x/ answered is no JSON"):
        missing.json()
    assert Response(302).raise_for_status().status == 302


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain; charset=latin-1", b"\xfc", "ü"),
        ("text/plain", "ü".encode(), "ü"),
        ("", b"\xff", "�"),
        ("text/plain; charset=klingon", b"a", "a"),
    ],
)
def test_the_text_of_a_response_is_read_by_its_charset(kind: str, body: bytes, text: str) -> None:
    """UTF-8 where none is known."""
    assert Response(200, {"content-type": kind}, body).text == text


def test_a_request_shows_no_secret() -> None:
    """User, password and query may be."""
    assert Request("GET", "https://me:pw@x:8/a?token=1").shown == "https://x:8/a"

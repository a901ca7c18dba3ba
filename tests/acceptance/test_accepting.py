"""What makes a request a message, and how that is answered."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.running import forwarded, metrics
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ORIGIN, ORIGINAL, Caller, ask, chunked, get, post, request

# The origin header


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("{}", "/p?q=1"),
        ("http://{}", "/p?q=1"),
        ("HTTP://{}", "/p?q=1"),
        ("http://{}/", "/p?q=1"),
        ("{}/", "/p?q=1"),
        ("{}/base", "/base/p?q=1"),
        ("{}/base/", "/base/p?q=1"),
        ("http://{}/a/b%2F/../c", "/a/b%2F/../c/p?q=1"),
        ("  {}\t", "/p?q=1"),
    ],
)
def test_origin_header_says_where_and_below_which_path(
    server: ServerProcess, receiver: Receiver, value: str, path: str
) -> None:
    """A host with a port, after a scheme or not; a base path goes before the request path, and a
    `/` at its end is dropped."""
    one = forwarded(server, receiver, post(value.format(receiver.authority), path="/p?q=1"))
    assert one.head.startswith(f"POST {path} HTTP/1.1\r\n".encode())
    assert one.headers["host"] == receiver.authority


def test_origin_header_may_name_a_host(server: ServerProcess, receiver: Receiver) -> None:
    """A name is looked up, and stands in `Host` as a name."""
    authority = f"localhost:{receiver.fake.port}"
    assert forwarded(server, receiver, post(authority)).headers["host"] == authority


def test_origin_header_may_be_an_ipv6_address(server: ServerProcess, receivers: Receivers) -> None:
    """In brackets, and so it is in `Host`."""
    with receivers.open(host="::1") as receiver:
        one = forwarded(server, receiver, post(f"http://[::1]:{receiver.fake.port}/v6"))
        assert one.head.startswith(b"POST /v6/ HTTP/1.1\r\n")
        assert one.headers["host"] == f"[::1]:{receiver.fake.port}"


def test_default_port_is_80_and_left_out_of_host(
    server: ServerProcess, receivers: Receivers
) -> None:
    """As any client leaves it out."""
    with ExitStack() as stack:
        try:
            receiver = stack.enter_context(receivers.open(host="127.9.8.7", port=80))
        except OSError as error:
            pytest.skip(f"port 80 may not be used here: {error}")
        for value in ("127.9.8.7", "http://127.9.8.7", "127.9.8.7:80"):
            assert forwarded(server, receiver, post(value)).headers["host"] == "127.9.8.7"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "http://",
        "https:///path",
        "/path",
        "//host",
        "ftp://host",
        "ws://host",
        "http:host",
        "user@host",
        "http://user:secret@host",
        "host?x",
        "host/path?x=1",
        "host#f",
        "http://host/#f",
        "host:0",
        "host:65536",
        "host:99999999999999999999",
        "host:-1",
        "host:http",
        "host:80:80",
        "::1",
        "[::1",
        "[zz]:80",
        "[127.0.0.1]:80",
        "[]:80",
        "host name",
        "host,other",
        "http://http://host",
        "host/a b",
        "host\\path",
        "h\xf6st",
        "host/\xe4",
        "*",
        "a..b",
        "x" * 300,
    ],
)
def test_origin_header_that_cannot_be_used_is_400(server: ServerProcess, value: str) -> None:
    """User info, query and fragment too; and it says so."""
    answer = ask(server.listen, post(value))
    assert (answer.status, answer.slug) == (400, "origin_invalid")


@pytest.mark.parametrize("name", [ORIGIN, ORIGINAL, ORIGINAL.lower(), ORIGIN.upper()])
def test_both_spellings_of_the_origin_header_mean_the_same(
    server: ServerProcess, receiver: Receiver, name: str
) -> None:
    """In any case of letters."""
    forwarded(server, receiver, request("GET / HTTP/1.1", "Host: x", name + receiver.authority))


@pytest.mark.parametrize("others", [["nowhere:1"], ["not a host"], [""], ["x:1", "y:2"]])
@pytest.mark.parametrize("first", [True, False])
def test_origin_wins_and_original_is_not_looked_at(
    server: ServerProcess, receiver: Receiver, others: list[str], first: bool
) -> None:
    """Whatever is in it, before or after, once or twice."""
    original = [ORIGINAL + other for other in others]
    headers = [ORIGIN + receiver.authority, *original]
    lines = headers if first else headers[::-1]
    forwarded(server, receiver, request("GET / HTTP/1.1", "Host: x", *lines))


def test_origin_wins_even_when_it_cannot_be_used(server: ServerProcess, receiver: Receiver) -> None:
    """The older spelling is no fallback."""
    headers = ("Host: x", ORIGINAL + receiver.authority, ORIGIN)
    assert ask(server.listen, request("GET / HTTP/1.1", *headers)).status == 400


@pytest.mark.parametrize("name", [ORIGIN, ORIGINAL])
def test_two_origin_headers_of_one_spelling_are_400(
    server: ServerProcess, receiver: Receiver, name: str
) -> None:
    """Equal ones too."""
    twice = [name + receiver.authority] * 2
    answer = ask(server.listen, request("GET / HTTP/1.1", "Host: x", *twice))
    assert (answer.status, answer.slug) == (400, "origin_invalid")


# No origin header


def test_health_is_answered_without_an_origin_header(server: ServerProcess) -> None:
    """For load balancers: 200, and nothing about the inside."""
    for path in ("/healthz", "/readyz"):
        answer = get(server.listen, path)
        assert answer.status == 200
        assert len(answer.body) < 64
        head = ask(server.listen, request(f"HEAD {path} HTTP/1.1", "Host: x"), to_head=True)
        assert head.status == 200
        assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "GET /health HTTP/1.1",
        "GET /healthz/ HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "POST /healthz HTTP/1.1",
        "DELETE /readyz HTTP/1.1",
        "POST /anything HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ],
)
def test_without_an_origin_header_everything_else_is_405(server: ServerProcess, line: str) -> None:
    """With a body that says what is missing; and nothing is accepted."""
    before = metrics(server)
    answer = ask(server.listen, request(line, "Host: x", "Content-Length: 2", body=b"{}"))
    assert answer.status == 405
    assert "allow" in answer.headers  # RFC 9110 section 15.5.6
    assert answer.slug == "origin_missing"
    assert "X-Dispatcher-Origin-Host" in answer.json["message"]
    after = metrics(server)
    counter = "dispatcher_messages_accepted_total"
    assert after[counter] == before[counter]


def test_health_paths_with_an_origin_header_are_messages(
    server: ServerProcess, receiver: Receiver
) -> None:
    """The header decides, not the path."""
    for path in ("/healthz", "/readyz"):
        one = forwarded(server, receiver, post(receiver.authority, path=path, method="GET"))
        assert one.head.startswith(f"GET {path} HTTP/1.1\r\n".encode())


# Methods


@pytest.mark.parametrize(
    "method",
    [
        *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"),
        *("PROPFIND", "M-SEARCH", "get", "Post", "PRI", "CONNECTED"),
        *("!#$%&'*+.^_`|~09aZ", "X" * 200),
    ],
)
def test_any_method_is_forwarded_as_it_is(
    server: ServerProcess, receiver: Receiver, method: str
) -> None:
    """Extension methods and small letters too. Without body or length none is added, but for the
    three methods whose readers expect one."""
    data = request(f"{method} /m HTTP/1.1", "Host: x", ORIGIN + receiver.authority)
    one = forwarded(server, receiver, data)
    assert one.head.startswith(f"{method} /m HTTP/1.1\r\n".encode())
    expected = "0" if method in {"POST", "PUT", "PATCH"} else None
    assert one.headers.get("content-length") == expected


def test_options_of_the_whole_server_is_forwarded(
    server: ServerProcess, receiver: Receiver
) -> None:
    """`OPTIONS *`: there is no path, so a base path is not put before it."""
    for base in ("", "/base"):
        data = request("OPTIONS * HTTP/1.1", "Host: x", ORIGIN + receiver.authority + base)
        assert forwarded(server, receiver, data).head.startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize("target", ["host:443", "/", "*"])
def test_connect_is_405(server: ServerProcess, receiver: Receiver, target: str) -> None:
    """This is no proxy, with or without an origin header."""
    for header in (ORIGIN + receiver.authority, "X-Other: x"):
        answer = ask(server.listen, request(f"CONNECT {target} HTTP/1.1", "Host: x", header))
        assert answer.status == 405
        assert "CONNECT" in answer.json["message"]
    assert receiver.requests == []


@pytest.mark.parametrize("size", [0, 1, 70_000, 300_000])
def test_upgrade_is_not_followed(server: ServerProcess, receiver: Receiver, size: int) -> None:
    """Java's client asks for HTTP/2 with every request: the headers of that are dropped, the body
    arrives whole."""
    body = b"j" * size
    headers = (
        "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
        "Upgrade: h2c",
        "User-Agent: Java-http-client/21",
    )
    one = forwarded(server, receiver, post(receiver.authority, *headers, body=body))
    assert bytes(one.body) == body
    assert b"pgrade" not in one.head
    assert b"HTTP2" not in one.head
    assert one.headers["user-agent"] == "Java-http-client/21"


# Versions


def test_http_1_0_is_accepted_and_forwarded_as_1_1(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Without `Host`, and the connection ends with the answer."""
    with Caller(server.listen) as caller:
        headers = (ORIGIN + receiver.authority, "Content-Length: 2")
        caller.send(request("POST /old HTTP/1.0", *headers, body=b"hi"))
        accepted = caller.answer()
        assert accepted.id
        assert caller.at_end()
    (one,) = receiver.received()
    assert one.head.startswith(b"POST /old HTTP/1.1\r\n")
    assert one.headers["host"] == receiver.authority
    assert bytes(one.body) == b"hi"


def test_http_1_0_keeps_the_connection_only_when_asked(
    server: ServerProcess, receiver: Receiver
) -> None:
    """`Connection: keep-alive` is answered in kind."""
    origin = ORIGIN + receiver.authority
    with Caller(server.listen) as caller:
        caller.send(request("GET /1 HTTP/1.0", "Connection: Keep-Alive", origin))
        first = caller.answer()
        assert first.id
        assert first.headers["connection"].lower() == "keep-alive"
        caller.send(request("GET /2 HTTP/1.0", origin))
        assert caller.answer().id
        assert caller.at_end()


def test_http_1_0_with_a_transfer_coding_is_400(server: ServerProcess, receiver: Receiver) -> None:
    """Who wrote that does not know where its body ends."""
    for coding in ("chunked", "gzip", "gzip, chunked"):
        headers = (ORIGIN + receiver.authority, f"Transfer-Encoding: {coding}")
        with Caller(server.listen) as caller:
            caller.send(request("POST / HTTP/1.0", *headers, body=chunked(b"x")))
            assert caller.answer().status == 400
            assert caller.at_end()
    assert receiver.requests == []


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9"])
def test_other_versions_are_505(server: ServerProcess, receiver: Receiver, version: str) -> None:
    """Also the ones to come."""
    data = request(f"GET / {version}", "Host: x", ORIGIN + receiver.authority)
    answer = ask(server.listen, data)
    assert (answer.status, answer.slug) == (505, "version_unsupported")


# The answer


def test_accepted_is_202_with_an_id_and_no_body(server: ServerProcess, receiver: Receiver) -> None:
    """The id is the one the destination sees."""
    answer = ask(server.listen, post(receiver.authority, body=b"x"))
    assert answer.status == 202
    assert answer.headers["content-length"] == "0"
    assert "content-type" not in answer.headers
    (one,) = receiver.received()
    assert one.headers["x-dispatcher-message-id"] == answer.id
    assert one.headers["x-dispatcher-attempt"] == "1"


def test_ids_are_never_the_same(server: ServerProcess, receiver: Receiver) -> None:
    """And they can be used anywhere a word can."""
    with Caller(server.listen) as caller:
        caller.send(post(receiver.authority) * 50)
        ids = [caller.answer().id for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(re.fullmatch("[0-9a-z]{16,64}", one) for one in ids)


@pytest.mark.parametrize(
    "accepts",
    [
        ["application/json"],
        ["APPLICATION/JSON"],
        ["application/json;q=0.1"],
        ["text/html, application/json ;q=0.5,*/*"],
        ["application/json; charset=utf-8"],
        ["text/html", "application/json"],
    ],
)
def test_json_is_answered_where_it_is_named(
    server: ServerProcess, receiver: Receiver, accepts: list[str]
) -> None:
    """`{"id": …}`, the same as in the header; and `Accept` itself is forwarded."""
    headers = [f"Accept: {one}" for one in accepts]
    answer = ask(server.listen, post(receiver.authority, *headers))
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json == {"id": answer.id}
    assert answer.body.endswith(b"}\n")
    (one,) = receiver.received()
    for header in headers:
        assert header.encode() in one.head


@pytest.mark.parametrize(
    "accept",
    [
        *("*/*", "application/*", "", "text/html", "application/problem+json"),
        *("application/jsonl", "x/application/json"),
        *("application/json;q=0", "application/json; q=0.000"),
    ],
)
def test_json_is_not_answered_where_it_is_not_named(
    server: ServerProcess, receiver: Receiver, accept: str
) -> None:
    """Nearly every client accepts anything without meaning JSON."""
    answer = ask(server.listen, post(receiver.authority, f"Accept: {accept}"))
    assert answer.id
    assert answer.body == b""


def test_answer_to_head_has_no_body(server: ServerProcess, receiver: Receiver) -> None:
    """Also where JSON is asked for, and also when it is refused: the next answer is in place."""
    data = request(
        "HEAD /h HTTP/1.1", "Host: x", "Accept: application/json", ORIGIN + receiver.authority
    )
    with Caller(server.listen) as caller:
        caller.send(data + request("HEAD / HTTP/1.1", "Host: x") + data)
        assert [caller.answer(to_head=True).status for _ in range(3)] == [202, 405, 202]


# Timeout


@pytest.mark.parametrize(
    "value", ["1", "1ms", "3600000", " 250 ", "0250", "500ms", "30s", "1m30s", "1h"]
)
def test_timeout_is_read(server: ServerProcess, receiver: Receiver, value: str) -> None:
    """A duration from 1 ms to an hour, or milliseconds; it is for the dispatcher only."""
    answer = ask(server.listen, post(receiver.authority, f"X-Dispatcher-Timeout: {value}"))
    assert answer.id
    if value not in ("1", "1ms"):
        assert b"imeout" not in receiver.received()[0].head


@pytest.mark.parametrize(
    "value",
    [
        *("0", "-1", "3600001", "", "1.5", "1e3", "0x10", "1 000", "٣", "9" * 40),
        *("0s", "1h1s", "1.5s", "10 s", "10S", "s", "10sec"),
    ],
)
def test_timeout_out_of_range_is_400(server: ServerProcess, receiver: Receiver, value: str) -> None:
    """Anything else too."""
    header = b"X-Dispatcher-Timeout: " + value.encode()
    answer = ask(server.listen, post(receiver.authority, header))
    assert (answer.status, answer.slug) == (400, "timeout_invalid")


def test_two_timeouts_are_400(server: ServerProcess, receiver: Receiver) -> None:
    """There is no telling which one is meant."""
    two = ("X-Dispatcher-Timeout: 100", "X-Dispatcher-Timeout: 200")
    assert ask(server.listen, post(receiver.authority, *two)).status == 400


# Headers that are nobody's


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("X-Dispatcher-Tiemout: 5", "X-Dispatcher-Timeout"),
        ("x-dispatcher-origin: a", "X-Dispatcher-Origin-Host"),
        ("X-Dispatcher-Idempotence: a", None),
        ("X-Dispatcher-: a", None),
    ],
)
def test_header_of_ours_that_is_not_known_is_400(
    server: ServerProcess, receiver: Receiver, header: str, meant: str | None
) -> None:
    """It is named, with what it may have meant, and nothing was accepted."""
    answer = ask(server.listen, post(receiver.authority, header))
    assert (answer.status, answer.slug) == (400, "header_unknown")
    message = answer.json["message"]
    assert message.startswith(header.partition(":")[0])
    assert meant is None or f"Did you mean {meant}?" in message
    assert not receiver.requests


def test_dispatchers_can_be_chained(server: ServerProcess, receiver: Receiver) -> None:
    """What one adds to its requests is no mistake for the next, which adds its own."""
    before = ("X-Dispatcher-Message-Id: first", "X-Dispatcher-Attempt: 3")
    one = forwarded(server, receiver, post(receiver.authority, *before, body=b"x"))
    assert one.head.count(b"X-Dispatcher-Message-Id") == 1
    assert b"first" not in one.head
    assert b"X-Dispatcher-Attempt: 1\r\n" in one.head

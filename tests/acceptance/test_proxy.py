"""The forward proxy, byte for byte, with nothing between the test and the sockets."""

from __future__ import annotations

import base64
import os
import signal
import ssl
from pathlib import Path

import trustme

from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import dead, lines_of, metrics, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Answer, Caller, ask, chunked, request

SETTINGS = {"PROXY_LISTEN": "127.0.0.1:0"}


def through(
    server: ServerProcess,
    target: str,
    *headers: str | bytes,
    method: str = "POST",
    body: bytes = b"",
) -> Answer:
    """Send a request to the proxy on a connection of its own, and return the answer."""
    lines = (*headers, f"Content-Length: {len(body)}") if body else headers
    data = request(f"{method} {target} HTTP/1.1", "Host: whatever", *lines, body=body)
    return ask(server.proxy, data, to_head=method == "HEAD")


def password(key: str) -> str:
    """The header that shows a key to the proxy."""
    return "Proxy-Authorization: Basic " + base64.b64encode(f"any:{key}".encode()).decode()


def test_request_arrives_as_if_there_were_no_proxy(
    server: ServerProcess, receiver: Receiver
) -> None:
    """The target in origin form, byte for byte; `Host` of the destination; no header of a proxy."""
    answer = through(
        server,
        f"http://{receiver.authority}/a//%2F..;x?b&&a=%zz",
        "Proxy-Connection: keep-alive",
        "X-a:  1",
        b"X-A: \xff",
        password("not looked at"),
        "Connection: X-Gone",
        "X-Gone: 1",
        method="PURGE",
        body=b"\0\xff",
    )
    (one,) = receiver.received()
    assert one.headers["x-dispatcher-message-id"] == answer.id
    assert one.head.startswith(b"PURGE /a//%2F..;x?b&&a=%zz HTTP/1.1\r\n")
    assert lines_of(one) == [
        f"Host: {receiver.authority}".encode(),
        b"X-a:  1",
        b"X-A: \xff",
        b"Content-Length: 2",
    ]
    assert bytes(one.body) == b"\0\xff"


def test_bodies_of_every_kind_arrive_whole(server: ServerProcess, receiver: Receiver) -> None:
    """Chunked ones, those that were asked to wait, and those that are streamed to disk."""
    large = os.urandom(1 << 20)
    line = f"PUT http://{receiver.authority}/ HTTP/1.1"
    with Caller(server.proxy) as caller:
        coded = ("Host: x", "Transfer-Encoding: chunked", "Proxy-X: 1")
        caller.send(request(line, *coded) + chunked(b"abc", b"de"))
        assert caller.answer().id
        expecting = ("Host: x", "Expect: 100-continue", f"Content-Length: {len(large)}")
        caller.send(request(line, *expecting))
        assert caller.answer().status == 100
        caller.send(large)
        assert caller.answer().id
    assert [bytes(one.body) for one in receiver.received(2)] == [b"abcde", large]


def test_requests_of_one_connection_go_to_the_hosts_they_name(
    server: ServerProcess, receivers: Receivers
) -> None:
    """However alike they are otherwise, pipelined or not."""
    with receivers.open() as one, receivers.open() as two, Caller(server.proxy) as caller:
        order = [one, one, two, one, two, two, one, two]
        data = [
            request(f"GET http://{to.authority}/{n} HTTP/1.1", "Host: x")
            for n, to in enumerate(order)
        ]
        alike = [request(f"GET http://{to.authority}/ HTTP/1.1", "Host: x") for to in order]
        caller.send(b"".join(data))
        assert all(caller.answer().id for _ in data)
        for raw in alike:
            caller.send(raw)
            assert caller.answer().id
        for to in (one, two):
            paths = {got.head.split(b" ")[1] for got in to.received(8)}
            assert paths == {b"/", *(b"/%d" % n for n, other in enumerate(order) if other is to)}


def test_answer_is_that_of_the_listener(server: ServerProcess, receiver: Receiver) -> None:
    """202 with the id, the id in JSON for who names it, no body to HEAD, HTTP/1.0 closed."""
    url = f"http://{receiver.authority}/"
    answer = through(server, url, "Accept: application/json")
    assert answer.json == {"id": answer.id}
    assert through(server, url, method="HEAD").id
    with Caller(server.proxy) as caller:
        caller.send(request(f"GET {url} HTTP/1.0"))
        assert caller.answer().headers["connection"] == "close"
        assert caller.at_end()


def test_refusals_say_what_to_do(server: ServerProcess) -> None:
    """They are counted with those of the other listener."""
    before = metrics(server)
    for target, method, status, slug, said in (
        ("b:443", "CONNECT", 405, "method_not_allowed", "X-Dispatcher-Scheme: https"),
        ("/x", "POST", 405, "origin_missing", "http_proxy"),
        ("ftp://b/x", "GET", 400, "origin_invalid", "http or https"),
        ("http://u:p@b/x", "GET", 400, "origin_invalid", "user information"),
    ):
        answer = through(server, target, method=method)
        assert (answer.status, answer.slug) == (status, slug)
        assert said in answer.json["message"]
        assert ("allow" in answer.headers) is (status == 405)
    name = 'dispatcher_requests_refused_total{reason="origin_invalid"}'
    assert metrics(server)[name] == before.get(name, 0) + 2


def test_health_is_answered_on_the_proxy_too(server: ServerProcess) -> None:
    """For whoever watches that port."""
    for path in ("/healthz", "/readyz"):
        assert through(server, path, method="GET").status == 200


def test_own_listeners_are_never_connected_to(server: ServerProcess) -> None:
    """A proxy that asks itself would go on for ever."""
    for host, port in (server.proxy, server.listen, server.api):
        number = through(server, f"http://{host}:{port}/healthz", method="GET").id
        assert dead(server, number)["reason"] == "egress_denied"
    assert dead(server, through(server, "http://169.254.169.254/").id)["reason"] == "egress_denied"


def test_scheme_goes_over_tls(tmp_path: Path, receivers: Receivers) -> None:
    """On both listeners; so does a target that says `https` itself."""
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    settings = quick(SSL_CERT_FILE=str(file), **SETTINGS)
    with receivers.open(tls=context) as receiver, ServerProcess(tmp_path, **settings) as server:
        scheme, host = "X-Dispatcher-Scheme: https", f"127.0.0.1:{receiver.fake.port}"
        origin = f"X-Dispatcher-Origin-Host: {host}"
        ids = [
            through(server, f"http://{host}/a", scheme).id,
            through(server, f"https://{host}/a").id,
            through(server, "/a", origin, scheme).id,
            ask(server.listen, request("POST /a HTTP/1.1", "Host: x", origin, scheme)).id,
        ]
        got = receiver.received(4)
        assert {one.headers["x-dispatcher-message-id"] for one in got} == set(ids)
        for one in got:
            assert one.head.startswith(b"POST /a HTTP/1.1\r\n")
            assert one.headers["host"] == host
            assert "x-dispatcher-scheme" not in one.headers


def test_keys_are_those_of_the_listener_and_replaced_with_them(
    tmp_path: Path, receiver: Receiver
) -> None:
    """As a password or in the header; a connection that is open shows the new one."""
    file = tmp_path / "keys"
    file.write_text("old\n", encoding="utf-8")
    settings = quick(LISTEN_KEYS_FILE=str(file), **SETTINGS)
    with ServerProcess(tmp_path, **settings) as server, Caller(server.proxy) as caller:
        line = f"GET http://{receiver.authority}/ HTTP/1.1"
        for header in (password("old"), "X-Dispatcher-Key: old", password("old")):
            caller.send(request(line, "Host: x", header))
            assert caller.answer().id
        file.write_text("new\n", encoding="utf-8")
        server.signal(signal.SIGHUP)
        assert server.event("settings.reloaded")["replaced"] == ["LISTEN_KEYS"]
        caller.send(request(line, "Host: x", password("old")))
        answer = caller.answer()
        assert (answer.status, answer.slug) == (407, "key_invalid")
        assert answer.headers["proxy-authenticate"] == 'Basic realm="dispatcher"'
        caller.send(request(line, "Host: x", password("new")))
        assert caller.answer().id
        for one in receiver.received(4):
            assert b"old" not in one.head
            assert b"new" not in one.head


def test_stop_closes_the_proxy_and_answers_what_was_begun(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Nothing that was answered is lost; who is connected is told."""
    settings = quick(DRAIN_NOTICE="60000", **SETTINGS)
    with ServerProcess(tmp_path, **settings) as server, Caller(server.proxy) as caller:
        line = f"GET http://{receiver.authority}/ HTTP/1.1"
        caller.send(request(line, "Host: x"))
        assert caller.answer().id
        server.signal(signal.SIGTERM)
        server.event("server.stopping")
        eventually(lambda: through(server, "/readyz", method="GET").status == 503)
        caller.send(request(line, "Host: x"))
        answer = caller.answer()
        assert answer.id
        assert answer.headers["connection"] == "close"
        assert caller.at_end()
        assert len(receiver.received(2)) == 2


def test_proxy_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    """The line of a start says where it is; so does `dispatcher config`."""
    with ServerProcess(tmp_path) as server:
        assert server.event("server.ready")["proxy_listen"] == []
    shown = run(tmp_path, "config", "check", PROXY_LISTEN="127.0.0.1:3128")
    assert "PROXY_LISTEN=127.0.0.1:3128\n" in shown.stdout
    wrong = run(tmp_path, "config", "check", PROXY_LISTEN="3128")
    assert wrong.returncode == 2
    assert "PROXY_LISTEN=3128: expected host:port" in wrong.stderr


def test_port_of_the_proxy_that_is_taken_is_named(server: ServerProcess, tmp_path: Path) -> None:
    """Exit code 3, with the setting to change."""
    host, port = server.proxy
    local = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}
    ended = run(tmp_path, "serve", PROXY_LISTEN=f"{host}:{port}", **local)
    assert ended.returncode == 3
    assert "set PROXY_LISTEN to another port" in ended.stderr

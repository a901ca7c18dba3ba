"""What the forward proxy makes of a request, and where it differs from the other listener."""

from __future__ import annotations

import base64
import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.destination import Destination
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.core.option_reading import NO_OPTIONS
from dispatcher.errors import Refusal
from dispatcher.ingress import answers, refusals
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.entrance import LISTENER, PROXY, Entrance, password_of
from dispatcher.ingress.forward import Forward, forward
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.memory import MAX_HEADS_BYTES
from dispatcher.ingress.refusals import RequestError
from dispatcher.ingress.shared import Shared
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport

OPEN = IngressConfig("", 0)
KEYED = IngressConfig("", 0, keys=Keyring.of_secrets(b"first", b"second"))
TO_B = b"X-Dispatcher-Origin-Host: b"
OVER_TLS = b"X-Dispatcher-Scheme: https"


def outcome(
    target: bytes,
    *lines: bytes,
    method: bytes = b"POST",
    config: IngressConfig = OPEN,
    entrance: Entrance = PROXY,
) -> Forward:
    start = b"%b %b HTTP/1.1" % (method, target)
    return forward(read_head(b"\r\n".join((start, b"Host: a", *lines)), Kinds()), config, entrance)


def refusal_of(
    target: bytes,
    *lines: bytes,
    method: bytes = b"POST",
    config: IngressConfig = OPEN,
    entrance: Entrance = PROXY,
) -> Refusal:
    with pytest.raises(RequestError) as caught:
        outcome(target, *lines, method=method, config=config, entrance=entrance)
    return caught.value.refusal


def basic(pair: bytes) -> bytes:
    return b"Proxy-Authorization: Basic " + base64.b64encode(pair)


# --- Where it goes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authority", "destination"),
    [
        (b"http://shop.test", Destination("http", "shop.test", 80)),
        (b"HTTP://Shop.Test:8080", Destination("http", "shop.test", 8080)),
        (b"https://shop.test", Destination("https", "shop.test", 443)),
        (b"http://[::1]:81", Destination("http", "::1", 81)),
        (b"http://127.0.0.1", Destination("http", "127.0.0.1", 80)),
    ],
)
def test_target_names_the_destination(authority: bytes, destination: Destination) -> None:
    """Its scheme, host and port; `Host` becomes the destination's, whatever it was."""
    wanted = outcome(authority + b"/a", b"A: 1")
    assert wanted == Forward(
        destination,
        b"POST /a HTTP/1.1\r\nHost: %b\r\nA: 1\r\nContent-Length: 0\r\n"
        % destination.authority.encode(),
        -1,
        NO_OPTIONS,
    )


@pytest.mark.parametrize(
    ("rest", "sent"),
    [
        (b"", b"/"),
        (b"?", b"/?"),
        (b"?a=%2F", b"/?a=%2F"),
        (b"/", b"/"),
        (b"//a/../%zz%41?b?&a=http://c/d", b"//a/../%zz%41?b?&a=http://c/d"),
    ],
)
def test_what_follows_the_authority_is_sent_byte_for_byte(rest: bytes, sent: bytes) -> None:
    """In origin form; one that is empty becomes `/`."""
    assert outcome(b"http://b" + rest).head.startswith(b"POST %b HTTP/1.1\r\n" % sent)


def test_options_without_a_path_is_for_the_whole_server() -> None:
    """RFC 9112 section 3.2.4."""
    assert outcome(b"http://b", method=b"OPTIONS").head.startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize("spelling", [b"Origin", b"Original"])
@pytest.mark.parametrize("target", [b"/x", b"http://other/x", b"https://other/x", b"ftp://other/x"])
def test_origin_header_wins_over_the_target(spelling: bytes, target: bytes) -> None:
    """Then the target's scheme and authority say nothing, as on the other listener."""
    line = b"X-Dispatcher-%b-Host: b:81/base" % spelling
    wanted = outcome(target, line)
    assert wanted == outcome(target, line, entrance=LISTENER)
    assert wanted.destination == Destination("http", "b", 81)
    assert wanted.head.startswith(b"POST /base/x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target",
    [
        *(b"ftp://b/", b"ws://b/", b"http://u@b/", b"http://u:p@b/", b"http://b:0/"),
        *(b"http://b:99999/", b"http://b:/", b"http://[b]/", b"http://a\\b/"),
    ],
)
def test_target_that_names_no_destination_is_refused(target: bytes) -> None:
    """400, and what is wrong is said of the target, as there is no header."""
    refusal = refusal_of(target)
    assert (refusal.status, refusal.slug) == (400, "origin_invalid")
    assert refusal.message.startswith("What the target names before its path cannot be used: ")


@pytest.mark.parametrize("target", [b"/x", b"/healthz", b"*"])
def test_request_without_a_destination_is_refused(target: bytes) -> None:
    """405 with the slug of the other listener, and words for somebody who has a proxy."""
    refusal = refusal_of(target, method=b"OPTIONS")
    assert refusal is refusals.PROXY_ORIGIN_MISSING
    assert (refusal.status, refusal.slug) == (405, refusals.ORIGIN_MISSING.slug)
    assert "http_proxy" in refusal.message


def test_misspelt_origin_header_is_named_where_it_is_needed() -> None:
    """As on the other listener; where the target is enough it is refused as not known."""
    line = b"X-Dispatcher-Orign-Host: b"
    missing = refusal_of(b"/x", line)
    assert missing.slug == "origin_missing"
    assert "Did you mean X-Dispatcher-Origin-Host" in missing.message
    assert refusal_of(b"http://b/", line).slug == "header_unknown"


def test_connect_is_refused_with_what_to_do() -> None:
    """Before a key is asked for: no key would help."""
    refusal = refusal_of(b"b:443", method=b"CONNECT", config=KEYED)
    assert refusal is refusals.PROXY_CONNECT
    assert (refusal.status, refusal.slug) == (405, "method_not_allowed")
    assert "X-Dispatcher-Scheme: https" in refusal.message


@pytest.mark.parametrize("target", [b"http://b/x", b"https://b/x"])
def test_other_listener_takes_no_destination_from_the_target(target: bytes) -> None:
    """There a header must name it. Who took it for the proxy reads which setting opens that."""
    refusal = refusal_of(target, entrance=LISTENER)
    assert (refusal.status, refusal.slug) == (405, refusals.ORIGIN_MISSING.slug)
    assert "PROXY_LISTEN" in refusal.message
    assert "PROXY_LISTEN" in refusal_of(b"b:443", method=b"CONNECT", entrance=LISTENER).message
    shown = basic(b"any:first")
    assert refusal_of(target, TO_B, shown, config=KEYED, entrance=LISTENER) is refusals.KEY


# --- X-Dispatcher-Scheme --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "port"),
    [(b"http://b/", 443), (b"http://b:80/", 80), (b"http://b:8080/", 8080), (b"https://b/", 443)],
)
@pytest.mark.parametrize("value", [b"https", b" HTTPS\t"])
def test_scheme_upgrades_the_target(target: bytes, port: int, value: bytes) -> None:
    """To the port of https, unless one is named; the header is not sent on."""
    wanted = outcome(target, b"X-Dispatcher-Scheme:" + value)
    assert wanted.destination == Destination("https", "b", port)
    assert b"Scheme" not in wanted.head
    assert b"Host: %b\r\n" % wanted.destination.authority.encode() in wanted.head
    assert wanted.options is NO_OPTIONS


@pytest.mark.parametrize("entrance", [LISTENER, PROXY])
@pytest.mark.parametrize(
    ("origin", "destination", "path"),
    [
        (b"b", Destination("https", "b", 443), b"/x"),
        (b"b:81/base", Destination("https", "b", 81), b"/base/x"),
        (b"b/x://y", Destination("https", "b", 443), b"/x://y/x"),
        (b"Http://b/base/", Destination("https", "b", 443), b"/base/x"),
        (b"https://b:81", Destination("https", "b", 81), b"/x"),
        (b"[::1]", Destination("https", "::1", 443), b"/x"),
    ],
)
def test_scheme_upgrades_the_origin_header_too(
    entrance: Entrance, origin: bytes, destination: Destination, path: bytes
) -> None:
    """On both listeners, with its port and base path."""
    line = b"X-Dispatcher-Origin-Host: " + origin
    wanted = outcome(b"/x", OVER_TLS, line, entrance=entrance)
    assert wanted.destination == destination
    assert wanted.head.startswith(b"POST %b HTTP/1.1\r\n" % path)


@pytest.mark.parametrize("entrance", [LISTENER, PROXY])
@pytest.mark.parametrize(
    "lines",
    [
        *((b"X-Dispatcher-Scheme:" + value,) for value in (b"", b" http", b" ftp", b" https://")),
        (OVER_TLS, OVER_TLS),
    ],
)
def test_scheme_is_refused_when_it_is_another(entrance: Entrance, lines: tuple[bytes, ...]) -> None:
    """400, and the answer names the header."""
    refusal = refusal_of(b"/x", TO_B, *lines, entrance=entrance)
    assert refusal is refusals.SCHEME
    assert refusal.message.startswith("X-Dispatcher-Scheme must be ")


def test_scheme_that_is_misspelt_is_named() -> None:
    """It is in the table of headers."""
    refusal = refusal_of(b"http://b/", b"X-Dispatcher-Schema: https")
    assert "Did you mean X-Dispatcher-Scheme?" in refusal.message


# --- Headers that end at a proxy ------------------------------------------------------------------


def test_headers_for_a_proxy_are_taken_out_and_everything_else_is_kept() -> None:
    """All that begin with `Proxy-`, in any spelling, and what is hop-by-hop anyway."""
    wanted = outcome(
        b"http://b/",
        b"Proxy-Connection: keep-alive",
        b"a:1",
        b"pRoXy-Features: x",
        basic(b"any:thing"),
        b"Connection: X-Gone, close",
        b"X-Gone: 1",
        b"Proxy: kept",
        b"X-Proxy-Id: kept",
        b"Content-Length: 3",
    )
    assert wanted.head == (
        b"POST / HTTP/1.1\r\nHost: b\r\na:1\r\nProxy: kept\r\nX-Proxy-Id: kept\r\n"
        b"Content-Length: 3\r\n"
    )


def test_length_of_a_chunked_body_stands_at_its_place_without_them() -> None:
    """Taking lines out moves those behind them."""
    wanted = outcome(b"http://b/", b"Proxy-X: 1", b"Transfer-Encoding: chunked", b"Z: z")
    assert wanted.head_with_length(5) == (
        b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nZ: z\r\n"
    )


def test_other_listener_passes_on_what_it_did() -> None:
    """Headers that are not named in RFC 9110 section 7.6.1 are the caller's."""
    assert b"Proxy-X: 1\r\n" in outcome(b"/", TO_B, b"Proxy-X: 1", entrance=LISTENER).head


# --- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        (basic(b"any:first"),),
        (basic(b":second"),),
        (b"PROXY-AUTHORIZATION:basic  " + base64.b64encode(b"u:first") + b"\t",),
        (b"X-Dispatcher-Key: first",),
        (b"X-Dispatcher-Key: first", basic(b"any:wrong")),
    ],
)
def test_key_is_accepted_as_password_or_in_the_header(lines: tuple[bytes, ...]) -> None:
    """Under any user name; the header wins. Neither reaches the destination."""
    wanted = outcome(b"http://b/", *lines, config=KEYED)
    assert wanted.head == b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (basic(b"first:"),),
        (basic(b"first"),),
        (basic(b"any:third"),),
        (basic(b"any:first"), basic(b"any:first")),
        (b"Proxy-Authorization: Bearer first",),
        (b"Proxy-Authorization: Basic any:first",),
        (b"Proxy-Authorization:",),
        (b"Authorization: Basic " + base64.b64encode(b"any:first"),),
        (b"X-Dispatcher-Key: third", basic(b"any:first")),
    ],
)
def test_key_is_refused_when_it_is_none_of_them(lines: tuple[bytes, ...]) -> None:
    """407, and the answer says how clients give one."""
    refusal = refusal_of(b"http://b/", *lines, config=KEYED)
    assert refusal is refusals.PROXY_KEY
    answer = answers.refused(refusal, style=answers.PLAIN, date=b"")
    assert answer.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b'\r\nProxy-Authenticate: Basic realm="dispatcher"\r\n' in answer
    assert b"WWW-Authenticate" not in answer


def test_key_that_may_only_read_is_refused() -> None:
    """403: it is known, another one would help."""
    ring = Keyring([Key("r", Role.READ, b"reader")])
    refusal = refusal_of(b"http://b/", basic(b"any:reader"), config=replace(OPEN, keys=ring))
    assert refusal is refusals.KEY_FORBIDDEN


@given(
    user=st.text(string.ascii_letters + string.digits + " @%", max_size=20),
    password=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60),
)
def test_password_is_what_stands_after_the_first_colon(user: str, password: str) -> None:
    """RFC 7617: a user has no colon, a password may have some."""
    pair = f"{user}:{password}".encode()
    assert password_of(basic(pair).partition(b":")[2]) == password.encode()


@given(st.binary(max_size=60))
def test_credentials_of_any_bytes_are_read_without_an_error(credentials: bytes) -> None:
    """What is none has no password."""
    assert isinstance(password_of(credentials), bytes)
    assert isinstance(password_of(b"Basic " + credentials), bytes)


# --- Connections ----------------------------------------------------------------------------------


class Ready:
    status = 200
    body = b'{"status": "ok"}'


class Caller:
    """A connection to the proxy, and what is behind it."""

    def __init__(self, config: IngressConfig = OPEN, shared: Shared | None = None) -> None:
        self.queue = MemoryAcceptor(at_once=False)
        self.now_s = 0.0
        self.shared = shared or Shared(self.queue, config, Ready, lambda: self.now_s)
        self.transport = MemoryTransport()
        self.connection = Connection(self.shared, PROXY)
        self.connection.connection_made(self.transport)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.data_received(piece)
            self.queue.settle()

    def received(self) -> bytes:
        data = bytes(self.transport.written)
        self.transport.written.clear()
        return data

    @property
    def sent_to(self) -> list[tuple[str, bytes]]:
        """Where messages go, and their request lines."""
        return [
            (str(one.destination), one.head.partition(b" HTTP")[0]) for one in self.queue.messages
        ]


def post(target: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    start = b"POST %b HTTP/1.1" % target
    return (
        b"\r\n".join((start, b"Host: a", b"Content-Length: %d" % len(body), *lines))
        + b"\r\n\r\n"
        + body
    )


def test_requests_for_different_hosts_are_never_mixed() -> None:
    """Heads that differ in the target's authority alone are not alike; those that repeat are
    compared and not read again."""
    caller = Caller()
    hosts = [b"one", b"one", b"two", b"two", b"one", b"onetwo", b"one:81", b"one"]
    caller.send(*(post(b"http://%b/x" % host, body=b"%d" % n) for n, host in enumerate(hosts)))
    assert caller.sent_to == [(f"http://{host.decode()}", b"POST /x") for host in hosts]
    assert caller.queue.bodies == [b"%d" % n for n in range(len(hosts))]
    # Pipelined, and the same for the scheme.
    caller = Caller()
    one, two = post(b"http://a/"), post(b"https://a/")
    caller.send(one + one + two + two + one)
    assert [at for at, _ in caller.sent_to] == [
        *("http://a", "http://a", "https://a", "https://a", "http://a")
    ]
    assert caller.connection.exchange.heads.misses == 1
    caller.send(one)
    assert caller.connection.exchange.heads.misses == 0


def test_keys_that_are_replaced_count_for_heads_that_repeat() -> None:
    """The next request is looked at anew."""
    caller = Caller(replace(OPEN, keys=Keyring.of_secrets(b"old")))
    request = post(b"http://b/", basic(b"any:old"))
    caller.send(request, request)
    assert caller.received().count(b"HTTP/1.1 202") == 2
    caller.shared.config.keys.replace([Key("k", Role.ADMIN, b"new")])
    caller.connection.forget_heads()
    caller.send(request)
    assert caller.received().startswith(b"HTTP/1.1 407 ")


def test_refused_request_leaves_the_connection_usable() -> None:
    """A client that is asked for its password sends it on the same connection."""
    caller = Caller(KEYED)
    caller.send(post(b"http://b/", body=b"abc"))
    answer = caller.received()
    assert answer.startswith(b"HTTP/1.1 407 ")
    assert b"Connection: close" not in answer
    caller.send(post(b"http://b/", basic(b"any:first"), body=b"abc"))
    assert caller.received().startswith(b"HTTP/1.1 202 ")
    assert caller.queue.bodies == [b"abc"]


def test_health_is_asked_for_in_origin_form() -> None:
    """Without a key. In absolute form it is a request for another host."""
    caller = Caller(KEYED)
    caller.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert caller.received().startswith(b"HTTP/1.1 200 ")
    caller.send(b"GET http://a/readyz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert caller.received().startswith(b"HTTP/1.1 407 ")


def test_connect_ends_the_connection() -> None:
    """What follows is no HTTP."""
    caller = Caller()
    caller.send(b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n")
    answer = caller.received()
    # Most clients show this line of an answer to CONNECT, and no more.
    line, _, _ = answer.partition(b"\r\n")
    assert line.startswith(b"HTTP/1.1 405 ")
    assert line.endswith(b"Use http:// With X-Dispatcher-Scheme: https")
    assert b"Connection: close\r\n" in answer
    assert caller.transport.is_eof_written


@pytest.mark.parametrize(
    ("line", "is_stranger"),
    [
        (basic(b"any:first"), False),
        (b"X-Dispatcher-Key: first", False),
        (basic(b"any:wrong"), True),
        (b"A: b", True),
    ],
)
def test_key_is_seen_in_a_head_that_is_not_whole(line: bytes, is_stranger: bool) -> None:
    """Who has shown one is not refused first when memory is used up."""
    caller = Caller(KEYED)
    caller.send(b"POST http://b/ HTTP/1.1\r\nHo", b"st: a\r\n" + line + b"\r", b"\nA: ")
    assert caller.connection.exchange.heads.is_of_a_stranger is is_stranger
    assert caller.received() == b""
    rate = caller.connection.rate_in(caller.shared.head_memory, 10.0)
    assert rate is not None
    assert (rate == 0) is is_stranger


def test_wrong_key_is_refused_before_the_head_is_whole() -> None:
    """In the header of ours, which wins; a wrong password may still be made good by it."""
    caller = Caller(KEYED)
    caller.send(b"POST http://b/ HTTP/1.1\r\nX-Dispatcher-Key: wrong\r\n")
    assert caller.received().startswith(b"HTTP/1.1 407 ")
    caller = Caller(KEYED)
    caller.send(b"POST http://b/ HTTP/1.1\r\nHost: a\r\n" + basic(b"any:wrong") + b"\r\n")
    caller.send(b"X-Dispatcher-Key: first\r\n\r\n")
    assert caller.received().startswith(b"HTTP/1.1 202 ")


def test_password_of_the_proxy_means_nothing_to_the_other_listener() -> None:
    """There it is dropped like any header that ends at the next hop."""
    shared = Caller(KEYED).shared
    connection = Connection(shared, LISTENER)
    transport = MemoryTransport()
    connection.connection_made(transport)
    connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\n" + basic(b"any:first") + b"\r\nA: ")
    assert connection.exchange.heads.is_of_a_stranger
    assert bytes(transport.written) == b""


def test_memory_and_connections_are_those_of_the_listener() -> None:
    """One budget for both, and one limit of connections."""
    caller = Caller(replace(OPEN, max_connections=2))
    other = Connection(caller.shared, LISTENER)
    other.connection_made(MemoryTransport())
    caller.send(b"POST http://b/ HTTP/1.1\r\nA: " + b"x" * 1000)
    assert 1000 < caller.shared.head_memory.held_bytes < MAX_HEADS_BYTES
    third = Caller(shared=caller.shared)
    assert third.received().startswith(b"HTTP/1.1 503 ")
    assert len(caller.shared.connections) == 3

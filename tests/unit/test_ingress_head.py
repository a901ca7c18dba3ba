"""Heads of requests: what is refused because two readers could disagree, and what is passed on."""

from __future__ import annotations

import pytest

from dispatcher.errors import Refusal
from dispatcher.ingress import answers, refusals
from dispatcher.ingress import head as heads
from dispatcher.ingress.head import CHUNKED, MAX_KINDS, Head, Kinds, is_broken, read_head
from dispatcher.ingress.refusals import MalformedError

POST = b"POST /x HTTP/1.1\r\nHost: a"


def refusal_of(raw: bytes) -> Refusal:
    with pytest.raises(MalformedError) as caught:
        read_head(raw, Kinds())
    assert caught.value.fatal
    return caught.value.refusal


def with_lines(*lines: bytes) -> Head:
    return read_head(b"\r\n".join((POST, *lines)), Kinds())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET / x HTTP/1.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/11",
        b"GET / http/1.1",
        b"GET / HTTPS/1.1",
        b"G(T / HTTP/1.1",
        b"G\xc4T / HTTP/1.1",
        b"/ HTTP/1.1",
        b"\x16\x03\x01\x02",
    ],
)
def test_request_line_is_refused_when_it_is_not_three_words(raw: bytes) -> None:
    """Method, target and version with one space between: anything else is 400."""
    assert refusal_of(raw + b"\r\nHost: a") is refusals.REQUEST_LINE


@pytest.mark.parametrize("method", [b"GET", b"PURGE", b"M-SEARCH", b"get", b"!#$%&'*+.^_`|~09"])
def test_method_may_be_any_token(method: bytes) -> None:
    """Extension methods are messages like any other, in the caller's spelling."""
    assert read_head(method + b" / HTTP/1.1\r\nHost: a", Kinds()).method == method


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3.0"])
def test_other_versions_are_505(version: bytes) -> None:
    """A version this listener does not speak is 505, with or without Host."""
    assert refusal_of(b"GET / " + version) is refusals.VERSION
    assert refusal_of(b"GET / " + version + b"\r\nHost: a") is refusals.VERSION


def test_preface_of_http_2_is_505() -> None:
    """A caller that starts with HTTP/2 learns that it has to use HTTP/1.1."""
    assert refusal_of(b"PRI * HTTP/2.0") is refusals.VERSION


@pytest.mark.parametrize(
    "target",
    [b"/", b"/%2F%41%zz", b"//a//..", b"/?", b"/a?b=2&a=1&", b"/a#b", b'/"<>\\^`{|}', b"/a:b@c"],
)
def test_target_is_kept_byte_for_byte(target: bytes) -> None:
    """Nothing is decoded, normalized or sorted."""
    assert read_head(b"GET " + target + b" HTTP/1.1\r\nHost: a", Kinds()).target == target


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (b"GET", b"http://a/b?c", b"/b?c"),
        (b"GET", b"HTTPS://a:1/b//%2F", b"/b//%2F"),
        (b"GET", b"http://a", b"/"),
        (b"GET", b"http://a?b", b"/?b"),
        (b"GET", b"http://a/?", b"/?"),
        (b"OPTIONS", b"http://a", b"*"),
        (b"OPTIONS", b"http://a/", b"/"),
        (b"OPTIONS", b"*", b"*"),
        (b"OPTIONS", b"/a", b"/a"),
    ],
)
def test_absolute_target_loses_its_authority(method: bytes, target: bytes, expected: bytes) -> None:
    """Of `http://host/path?query` the path and query are used; `*` is for OPTIONS."""
    assert read_head(method + b" " + target + b" HTTP/1.1\r\nHost: a", Kinds()).target == expected


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"a",
        b"a:80",
        b"http:///b",
        b"http:/b",
        b"?a",
        b"/\x7f",
        b"/\x01",
        b"/\t",
        b"/\xc3\xa4",
    ],
)
def test_target_is_refused_when_it_is_no_path(target: bytes) -> None:
    """Blanks, controls, 8-bit bytes, authorities and relative targets are 400."""
    assert refusal_of(b"GET " + target + b" HTTP/1.1\r\nHost: a") is refusals.TARGET


@pytest.mark.parametrize(
    "line",
    [
        b"X : y",
        b"X\t: y",
        b" X: y",
        b"\tfolded",
        b"X",
        b"Host",
        b"",
        b": y",
        b"X(: y",
        b"X\xe4: y",
        b"X: a\nb",
        b"X: a\rb",
        b"X: a\0b",
        b"X: a\n",
        b"X\0: a",
    ],
)
def test_header_line_is_refused_when_it_is_not_one_line_with_a_name(line: bytes) -> None:
    """No blank before the colon, no folding, no NUL, no CR or LF of its own."""
    assert refusal_of(POST + b"\r\n" + line + b"\r\nY: z") is refusals.HEADER


def test_header_values_keep_their_bytes() -> None:
    """Spacing, 8-bit bytes and odd characters of a value are nobody's business here."""
    lines = [b"X:y", b"x:  y \t", b"X-\xe4".replace(b"\xe4", b"e") + b": \xff\xfe \x01\x7f", b"Y:"]
    assert with_lines(*lines).lines == [b"Host: a", *lines]


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Host: a", b"Host: a"),
        (b"Host: a", b"hOST: b"),
        (b"Host: a b",),
        (b"Host: user@a",),
        (b"Host: a/b",),
        (b"Host: \xff",),
    ],
)
def test_host_is_refused_when_missing_repeated_or_no_host(lines: tuple[bytes, ...]) -> None:
    """HTTP/1.1 needs exactly one Host, which names a host (RFC 9112 section 3.2)."""
    assert refusal_of(b"\r\n".join((b"GET / HTTP/1.1", *lines))) is refusals.HOST


@pytest.mark.parametrize("host", [b"", b" ", b" a:80", b"[::1]:80", b"\ta \t"])
def test_host_may_be_anything_that_names_a_host(host: bytes) -> None:
    """It is replaced anyway; even an empty one is allowed."""
    assert read_head(b"GET / HTTP/1.1\r\nHost:" + host, Kinds()).host_at == 0


def test_http_1_0_needs_no_host_but_takes_no_two() -> None:
    """HTTP/1.0 knows no Host; two of them are refused in any version."""
    assert read_head(b"GET / HTTP/1.0", Kinds()).host_at == -1
    assert refusal_of(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a") is refusals.HOST


@pytest.mark.parametrize(
    ("value", "length", "line"),
    [
        (b" 0", 0, b"Content-Length: 0"),
        (b"17", 17, b"Content-Length:17"),
        (b"  5\t", 5, b"Content-Length:  5\t"),
        (b" 007", 7, b"Content-Length: 7"),
        (b" 00", 0, b"Content-Length: 0"),
        (b" " + b"0" * 5000 + b"9", 9, b"Content-Length: 9"),
    ],
)
def test_content_length_is_read(value: bytes, length: int, line: bytes) -> None:
    """Decimal digits; spelled anew only with leading zeros, which some take for octal."""
    head = with_lines(b"Content-Length:" + value)
    assert head.length == length
    assert head.lines == [b"Host: a", line]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length:",),
        (b"Content-Length: x",),
        (b"Content-Length: +5",),
        (b"Content-Length: -5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: 5.0",),
        (b"Content-Length: 5 5",),
        (b"Content-Length: 5, 5",),
        (b"Content-Length: 1_0",),
        (b"Content-Length: \x0b5",),
        (b"Content-Length: \xb2",),
        (b"Content-Length: 5", b"Content-Length: 5"),
        (b"Content-Length: 5", b"content-length: 6"),
    ],
)
def test_content_length_is_refused_when_it_could_be_read_in_two_ways(
    lines: tuple[bytes, ...],
) -> None:
    """One header, digits only; equal ones are refused too."""
    head = b"\r\n".join((POST, *lines))
    assert refusal_of(head) is refusals.CONTENT_LENGTH


def test_content_length_beyond_any_number_is_a_large_body() -> None:
    """A length of thousands of digits is a length, only too large, and costs nothing to read."""
    assert with_lines(b"Content-Length: " + b"9" * 5000).length > 1 << 62


@pytest.mark.parametrize("value", [b"chunked", b" Chunked", b"\tCHUNKED \t"])
def test_chunked_is_the_coding_understood(value: bytes) -> None:
    """`chunked` in any case: the length is known at the end."""
    head = with_lines(b"A: b", b"Transfer-Encoding:" + value, b"C: d")
    assert head.length == CHUNKED
    assert head.lines == [b"Host: a", b"A: b", heads.LENGTH_HERE, b"C: d"]


@pytest.mark.parametrize(
    "lines",
    [
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, gzip",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
    ],
)
def test_other_codings_are_501(lines: tuple[bytes, ...]) -> None:
    """A coding that is not `chunked` cannot be taken off."""
    assert refusal_of(b"\r\n".join((POST, *lines))) is refusals.CODING


@pytest.mark.parametrize(
    "lines",
    [
        (b"Transfer-Encoding:",),
        (b"Transfer-Encoding: chunked, chunked",),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked,",),
        (b"Transfer-Encoding: ,chunked",),
        (b"Transfer-Encoding: \x0bchunked",),
        (b"Transfer-Encoding: chunked;q=1",),
        (b'Transfer-Encoding: "chunked"',),
        (b"Transfer-Encoding: chunk ed",),
    ],
)
def test_transfer_encoding_is_refused_when_disguised(lines: tuple[bytes, ...]) -> None:
    """What one reader takes for chunked and another does not is 400."""
    assert refusal_of(b"\r\n".join((POST, *lines))) is refusals.TRANSFER_ENCODING


@pytest.mark.parametrize("coding", [b"chunked", b"gzip"])
def test_length_and_coding_together_are_refused(coding: bytes) -> None:
    """The classic of request smuggling, in either order."""
    one, other = b"Content-Length: 5", b"Transfer-Encoding: " + coding
    assert refusal_of(b"\r\n".join((POST, one, other))) is refusals.FRAMING
    assert refusal_of(b"\r\n".join((POST, other, one))) is refusals.FRAMING


@pytest.mark.parametrize("coding", [b"chunked", b"gzip"])
def test_coding_in_http_1_0_is_refused(coding: bytes) -> None:
    """HTTP/1.0 has no transfer codings: whoever sends one is a confused proxy."""
    raw = b"POST / HTTP/1.0\r\nTransfer-Encoding: " + coding
    assert refusal_of(raw) is refusals.TRANSFER_ENCODING


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: x",
        b"Keep-Alive: 5",
        b"Proxy-Connection: close",
        b"PROXY-AUTHORIZATION: Basic eA==",
        b"TE: trailers",
        b"trailer: X",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"X-Dispatcher-Origin-Host: b",
        b"x-dispatcher-original-host: b",
        b"X-Dispatcher-Timeout: 5",
        b"X-Dispatcher-Key: k",
        b"X-Dispatcher-Message-Id: 7",
        b"X-DISPATCHER-FEATURES: 7",
    ],
)
def test_header_is_taken_out_when_it_is_not_for_the_destination(line: bytes) -> None:
    """Hop-by-hop headers, Expect, and everything that is the dispatcher's."""
    assert with_lines(b"A: b", line, b"C: d").lines == [b"Host: a", b"A: b", b"C: d"]


def test_header_is_not_taken_out_when_only_its_start_is_ours() -> None:
    """`X-Dispatch` and `X-Dispatcher` are somebody else's."""
    lines = [b"X-Dispatch: 1", b"X-Dispatcher: 2", b"Keep-Alive-For: 3"]
    assert with_lines(*lines).lines == [b"Host: a", *lines]


@pytest.mark.parametrize(
    ("version", "connection", "style"),
    [
        (b"1.1", (), answers.PLAIN),
        (b"1.1", (b"keep-alive",), answers.PLAIN),
        (b"1.1", (b"close",), answers.CLOSE),
        (b"1.1", (b"Upgrade, HTTP2-Settings",), answers.PLAIN),
        (b"1.1", (b"x", b"CLOSE"), answers.CLOSE),
        (b"1.1", (b"keep-alive, close",), answers.CLOSE),
        (b"1.0", (), answers.CLOSE),
        (b"1.0", (b"Keep-Alive",), answers.KEEP_ALIVE),
        (b"1.0", (b"close",), answers.CLOSE),
        (b"1.0", (b"x",), answers.CLOSE),
    ],
)
def test_connection_decides_whether_the_connection_goes_on(
    version: bytes, connection: tuple[bytes, ...], style: int
) -> None:
    """HTTP/1.1 goes on unless told otherwise, HTTP/1.0 only when told so."""
    lines = [b"Connection: " + value for value in connection]
    head = read_head(b"\r\n".join((b"GET / HTTP/" + version, b"Host: a", *lines)), Kinds())
    assert head.style == style


def test_style_tells_head_and_json() -> None:
    """The answer to HEAD has no body; the id is told in JSON when JSON was named."""
    raw = b"HEAD / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nAccept: application/json"
    assert read_head(raw, Kinds()).style == answers.NO_BODY | answers.JSON


def test_names_are_learned_without_bound_on_time_but_on_memory() -> None:
    """Callers choose header names: remembering all of them would be a leak, and remembering the
    first for ever would let one caller make all others slower."""
    kinds = Kinds()
    for number in range(5000):
        line = b"X-%d: y" % number
        assert read_head(POST + b"\r\n" + line, kinds).lines[1] == line
        assert line[:-3] in kinds.known
        assert len(kinds.known) <= MAX_KINDS
    read_head(POST + b"\r\n" + b"x" * 1000 + b": y", kinds)
    assert max(map(len, kinds.known)) < 100
    assert read_head(POST + b"\r\nTrAnSfEr-EnCoDiNg: chunked", kinds).length == CHUNKED


def test_names_that_one_listener_learned_are_not_another_ones() -> None:
    """What is remembered has an owner; nothing is kept in the module."""
    before = {name: repr(value) for name, value in vars(heads).items()}
    kinds = Kinds()
    read_head(POST + b"\r\nX-New: 1", kinds)
    assert kinds.known[b"X-New"] == heads.PLAIN
    assert Kinds().known == {}
    assert {name: repr(value) for name, value in vars(heads).items()} == before


@pytest.mark.parametrize(
    "flaw", [b"GET / HTTP/1.1\n", b"GET /\rX", b"G\0", b"a\r\n\n", b"\n", b"\r\r"]
)
def test_unfinished_head_is_broken_at_its_first_flaw_however_it_arrives(flaw: bytes) -> None:
    """Bare LF, bare CR and NUL are found in the piece that brings them, and never before."""
    for at in range(len(flaw) - 1):
        buffer = bytearray(flaw[:at])
        assert at == 0 or not is_broken(buffer, 0)
        buffer += flaw[at:]
        assert is_broken(buffer, at)


def test_unfinished_head_is_not_broken_while_it_can_be_finished() -> None:
    """Any cut through a good head is only unfinished."""
    good = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n"
    for end in range(1, len(good) + 1):
        for seen in range(end):
            assert not is_broken(bytearray(good[:end]), seen)

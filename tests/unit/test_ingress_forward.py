"""What a well-formed request becomes, and in which order it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dispatcher.core.destination import Destination
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.core.option_reading import NO_OPTIONS, Options, bad_value
from dispatcher.core.options import HEADERS, OPTIONS, OWN, TIMEOUT
from dispatcher.core.rate import Rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.errors import Refusal
from dispatcher.ingress import refusals
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.forward import Forward, forward
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.refusals import RequestError

OPEN = IngressConfig("127.0.0.1", 0)
KEYED = IngressConfig("127.0.0.1", 0, keys=Keyring.of_secrets(b"first", b"second"))
TO_B = b"X-Dispatcher-Origin-Host: b"


def outcome(
    *lines: bytes, start: bytes = b"POST /x HTTP/1.1", config: IngressConfig = OPEN
) -> Forward:
    return forward(read_head(b"\r\n".join((start, b"Host: a", *lines)), Kinds()), config)


def refusal_of(
    *lines: bytes, start: bytes = b"POST /x HTTP/1.1", config: IngressConfig = OPEN
) -> Refusal:
    with pytest.raises(RequestError) as caught:
        outcome(*lines, start=start, config=config)
    return caught.value.refusal


def test_outgoing_head_keeps_what_the_caller_wrote() -> None:
    """Order, spelling, spacing, duplicates and bytes stay; Host is replaced at its place."""
    raw = (
        b"PURGE /a?b HTTP/1.1\r\nA:1\r\nhOsT: caller\r\na: 2\r\n"
        b"X-Dispatcher-Origin-Host:b:81/c/\r\n"
        b"Connection: X-Gone\r\nx-gone: 1\r\nA:  \xff "
    )
    assert forward(read_head(raw, Kinds()), OPEN) == Forward(
        Destination("http", "b", 81),
        b"PURGE /c/a?b HTTP/1.1\r\nA:1\r\nHost: b:81\r\na: 2\r\nA:  \xff \r\n",
        -1,
        NO_OPTIONS,
    )


def test_host_is_added_first_when_an_http_1_0_caller_sent_none() -> None:
    """What is sent is HTTP/1.1, which needs one."""
    raw = b"GET / HTTP/1.0\r\nA: 1\r\nX-Dispatcher-Original-Host: b"
    assert forward(read_head(raw, Kinds()), OPEN).head == b"GET / HTTP/1.1\r\nHost: b\r\nA: 1\r\n"


@pytest.mark.parametrize("lines", [b"Host: a\r\nConnection: x-gone\r\nX-Gone: 1\r\n", b""])
def test_head_is_not_changed_by_what_is_made_of_it(lines: bytes) -> None:
    """Deciding is pure: once more gives the same."""
    raw = b"POST / HTTP/1.0\r\n" + lines + b"A: 1\r\nX-Dispatcher-Origin-Host: b"
    head = read_head(raw, Kinds())
    before = list(head.lines)
    first = forward(head, OPEN)
    assert head.lines == before
    assert forward(head, OPEN) == first


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH"])
def test_length_0_is_told_when_the_method_expects_a_body(method: bytes) -> None:
    """RFC 9110 section 8.6: a POST, PUT or PATCH without a body says so."""
    head = outcome(TO_B, b"Z: z", start=method + b" / HTTP/1.1").head
    assert head == method + b" / HTTP/1.1\r\nHost: b\r\nZ: z\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PURGE", b"post"])
def test_no_length_is_told_when_there_is_no_body(method: bytes) -> None:
    """Others get no header of our own; one of the caller's is kept."""
    assert b"Length" not in outcome(TO_B, start=method + b" / HTTP/1.1").head
    kept = outcome(b"content-LENGTH:0", TO_B, b"Z: z", start=method + b" / HTTP/1.1").head
    assert kept.endswith(b"Host: b\r\ncontent-LENGTH:0\r\nZ: z\r\n")


def test_length_of_a_chunked_body_is_told_where_the_coding_stood() -> None:
    """The length is put in once it is known, whatever the method and even if it is 0."""
    chunked = outcome(b"A: 1", b"Transfer-Encoding: chunked", TO_B, b"Z: z")
    for length in (0, 12345):
        assert chunked.head_with_length(length) == (
            b"POST /x HTTP/1.1\r\nHost: b\r\nA: 1\r\nContent-Length: %d\r\nZ: z\r\n" % length
        )


@pytest.mark.parametrize("name", [b"Host", b"content-length", b"close", b"keep-alive", b"TE"])
def test_connection_cannot_take_out_the_framing(name: bytes) -> None:
    """A caller that names Host or Content-Length in Connection does not get rid of them."""
    head = outcome(b"Connection: " + name, b"Content-Length: 3", TO_B).head
    assert head == b"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n"
    chunked = outcome(
        b"Connection: transfer-encoding, " + name, b"Transfer-Encoding: chunked", TO_B
    )
    assert chunked.head_with_length(3) == b"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n"


@pytest.mark.parametrize(
    ("target", "sent"),
    [(b"/", b"/base/"), (b"//x?", b"/base//x?"), (b"http://c/d", b"/base/d"), (b"*", b"*")],
)
def test_base_path_stands_before_the_path(target: bytes, sent: bytes) -> None:
    """The base path comes first; `*` is no path."""
    head = outcome(
        b"X-Dispatcher-Origin-Host: b/base/", start=b"OPTIONS " + target + b" HTTP/1.1"
    ).head
    assert head.startswith(b"OPTIONS " + sent + b" HTTP/1.1\r\n")


def test_origin_wins_over_original() -> None:
    """With both spellings, the older one is not looked at."""
    older = b"X-Dispatcher-Original-Host: @not looked at@"
    assert outcome(older, TO_B).destination.host == "b"
    assert outcome(TO_B, older).destination.host == "b"
    assert refusal_of(b"X-Dispatcher-Origin-Host:", older).slug == "origin_invalid"


@pytest.mark.parametrize("spelling", [b"Origin", b"Original"])
def test_origin_is_refused_when_one_spelling_came_twice(spelling: bytes) -> None:
    """Which of them was meant? 400, even when both say the same."""
    line = b"X-Dispatcher-%b-Host: b/c" % spelling
    assert refusal_of(line, line.lower()) is refusals.ORIGIN_REPEATED


@pytest.mark.parametrize(
    "value", [b"", b" ", b"b:0", b"u@b", b"b?q", b"b c", b"b/" + b"\xff" * 300]
)
def test_origin_is_refused_when_it_cannot_be_read(value: bytes) -> None:
    """400 with the reason in the message."""
    refusal = refusal_of(b"X-Dispatcher-Origin-Host:" + value)
    assert (refusal.status, refusal.slug) == (400, "origin_invalid")


def test_origin_may_be_longer_than_what_is_remembered() -> None:
    """Long base paths work, they are only not cached."""
    base = b"/" + b"p" * 3000
    head = outcome(b"X-Dispatcher-Origin-Host: b" + base, start=b"GET /x HTTP/1.1").head
    assert head.startswith(b"GET " + base + b"/x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("value", "timeout_ms"),
    [
        (b"1", 1),
        (b" 3600000 ", 3600000),
        (b"007", 7),
        (b"500ms", 500),
        (b"30s", 30_000),
        (b"1m30s", 90_000),
        (b"1h", 3_600_000),
    ],
)
def test_timeout_is_read(value: bytes, timeout_ms: int) -> None:
    """A duration, or milliseconds; without the header the server's default counts."""
    assert outcome(TO_B, b"X-Dispatcher-Timeout:" + value).options.timeout_ms == timeout_ms
    assert outcome(TO_B).options is NO_OPTIONS


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"0", b"3600001", b"-1", b"+1", b"1.5", b"1 1", b"\xb2", b"9" * 5000),
        *(b"0s", b"1h1ms", b"1.5s", b"1S", b"1 s", b"s", b"30sec", b"1s1h", b"\xb5s"),
    ],
)
def test_timeout_is_refused_when_out_of_range(value: bytes) -> None:
    """Anything but a duration from 1 ms to 1 h is 400, and the answer names the header."""
    refusal = refusal_of(TO_B, b"X-Dispatcher-Timeout: " + value)
    assert refusal == refusals.option_invalid(bad_value(TIMEOUT))
    assert (refusal.status, refusal.slug) == (400, "timeout_invalid")
    assert refusal.message.startswith("X-Dispatcher-Timeout must be ")


def test_timeout_is_refused_when_it_came_twice() -> None:
    """Which of them was meant?"""
    twice = b"X-Dispatcher-Timeout: 5"
    assert refusal_of(TO_B, twice, twice).slug == "timeout_invalid"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("X-Dispatcher-Tiemout", "X-Dispatcher-Timeout"),
        ("x-dispatcher-timeouts", "X-Dispatcher-Timeout"),
        ("X-DISPATCHER-ORIGIN", "X-Dispatcher-Origin-Host"),
        ("X-Dispatcher-Keys", "X-Dispatcher-Key"),
        ("X-Dispatcher-Priority", None),
        ("X-Dispatcher-", None),
        ("X-Dispatcher-" + "x" * 60_000, None),
    ],
)
def test_header_of_ours_that_is_not_known_is_refused(name: str, meant: str | None) -> None:
    """A slip must not look as if it had worked: 400 that names it, and what it may have meant."""
    refusal = refusal_of(TO_B, name.encode() + b": 5")
    assert (refusal.status, refusal.slug) == (400, "header_unknown")
    assert refusal.message.startswith(name[:64])
    assert len(refusal.message) < 300
    assert ("Did you mean" in refusal.message) is (meant is not None)
    assert meant is None or f"Did you mean {meant}?" in refusal.message


def test_header_that_is_not_known_is_refused_after_what_matters_more() -> None:
    """Who has no key learns nothing about headers, and a request without origin is none of ours."""
    unknown = b"X-Dispatcher-Zebra: 5"
    assert refusal_of(TO_B, unknown, config=KEYED) is refusals.KEY
    assert refusal_of(unknown) is refusals.ORIGIN_MISSING


@pytest.mark.parametrize("name", OWN)
def test_headers_that_dispatchers_add_are_dropped(name: str) -> None:
    """So the destination of one may be another; twice is no mistake either."""
    line = name.encode() + b": whatever"
    assert outcome(TO_B, line, line).head == outcome(TO_B).head


def test_every_option_has_a_field_and_a_name_of_its_own() -> None:
    """The table is what everything else is made from."""
    derived = {"has_terms", "has_instant", "is_plain", "is_placed"}
    assert {option.field for option in OPTIONS} == set(Options._fields) - derived
    assert len({option.field for option in OPTIONS}) == len(OPTIONS)
    assert len({header.name for header in HEADERS}) == len(HEADERS)


@pytest.mark.parametrize("key", [b"first", b" second\t"])
def test_key_is_accepted_when_it_is_one_of_them(key: bytes) -> None:
    """Any of the keys will do, and none reaches the destination."""
    wanted = outcome(TO_B, b"X-Dispatcher-Key:" + key, config=KEYED)
    assert b"Key" not in wanted.head


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"X-Dispatcher-Key:",),
        (b"X-Dispatcher-Key: third",),
        (b"X-Dispatcher-Key: FIRST",),
        (b"X-Dispatcher-Key: firs",),
        (b"X-Dispatcher-Key: first,second",),
        (b"X-Dispatcher-Key: first", b"X-Dispatcher-Key: first"),
        (b"X-Dispatcher-Key: \xff",),
    ],
)
def test_key_is_refused_when_it_is_none_of_them(lines: tuple[bytes, ...]) -> None:
    """401, also when it is missing or came twice."""
    assert refusal_of(TO_B, *lines, config=KEYED) is refusals.KEY


def test_key_is_not_looked_at_when_none_is_set() -> None:
    """An open listener takes any."""
    assert outcome(TO_B, b"X-Dispatcher-Key: whatever").destination.host == "b"


@pytest.mark.parametrize("value", [b"100-continue", b" 100-Continue "])
def test_expectation_is_dropped_when_it_is_the_known_one(value: bytes) -> None:
    """It is between the caller and us."""
    assert b"xpect" not in outcome(TO_B, b"Expect:" + value).head


@pytest.mark.parametrize("lines", [(b"Expect: x",), (b"Expect:",), (b"Expect: 100-continue",) * 2])
def test_expectation_is_refused_when_it_is_another(lines: tuple[bytes, ...]) -> None:
    """417; what we do not know we cannot do."""
    assert refusal_of(TO_B, *lines) is refusals.EXPECTATION


def test_expectation_of_an_http_1_0_caller_is_ignored() -> None:
    """RFC 9110 section 10.1.1."""
    assert outcome(TO_B, b"Expect: x", start=b"POST / HTTP/1.0").destination.host == "b"


def test_length_is_refused_when_above_the_limit() -> None:
    """413 from Content-Length alone; the limit itself is allowed."""
    small = IngressConfig("127.0.0.1", 0, max_body=10)
    assert outcome(TO_B, b"Content-Length: 10", config=small).length_at == -1
    refusal = refusal_of(TO_B, b"Content-Length: 11", config=small)
    assert (refusal.status, refusal.slug) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("lines", "slug", "meant"),
    [
        ((b"X-Dispatcher-Orign-Host: b",), "origin_missing", "X-Dispatcher-Origin-Host"),
        ((TO_B, b"x-dispatcher-kee: first"), "key_invalid", "X-Dispatcher-Key"),
    ],
)
def test_missing_header_that_is_only_misspelt_is_named(
    lines: tuple[bytes, ...], slug: str, meant: str
) -> None:
    """Its refusal comes before that of headers that are not known, and says what is wrong too."""
    refusal = refusal_of(*lines, config=KEYED)
    assert refusal.slug == slug
    name = lines[-1].partition(b":")[0].decode()
    assert refusal.message.endswith(f" Did you mean {meant} by {name}?")


def test_refusals_come_in_their_order() -> None:
    """Each fault hides those after it, from the method to the size of the body."""
    faults = {
        "method_not_allowed": b"CONNECT a:1 HTTP/1.1",
        "origin_missing": b"",
        "key_invalid": b"X-Dispatcher-Key: x",
        "origin_invalid": b"X-Dispatcher-Origin-Host: :",
        "timeout_invalid": b"X-Dispatcher-Timeout: x",
        "expectation_failed": b"Expect: x",
        "body_too_large": b"Content-Length: 999999999999",
    }
    good = {
        "method_not_allowed": b"POST / HTTP/1.1",
        "origin_missing": TO_B,
        "key_invalid": b"X-Dispatcher-Key: first",
        "origin_invalid": b"X-Dispatcher-Origin-Host: b",
    }
    slugs = list(faults)
    for at, slug in enumerate(slugs):
        lines = {key: good.get(key, b"Z: z") for key in slugs[:at]}
        lines |= {key: faults[key] for key in slugs[at:]}
        start = lines.pop("method_not_allowed")
        if slug in {"method_not_allowed", "origin_missing"}:
            del lines["origin_invalid"]
        lines.pop("origin_missing")
        assert refusal_of(*lines.values(), start=start, config=KEYED).slug == slug


@pytest.mark.parametrize("role", Role)
def test_key_is_refused_when_its_role_may_not_send(role: Role) -> None:
    """An application's may, an administrator's too; one for looking at things may not."""
    config = replace(KEYED, keys=Keyring([Key("name", role, b"secret")]))
    lines = (TO_B, b"X-Dispatcher-Key: secret")
    if role is Role.READ:
        assert refusal_of(*lines, config=config) is refusals.KEY_FORBIDDEN
        assert refusals.KEY_FORBIDDEN.status == 403
    else:
        assert isinstance(outcome(*lines, config=config), Forward)


@pytest.mark.parametrize("says", [{"rate": Rate(1, 1_000_000)}, {"concurrency": 3}])
def test_message_has_a_place_where_a_rule_bounds_its_destination(says: dict[str, Any]) -> None:
    """Only where other processes accept messages too, and only for that destination; options that
    were given stay."""
    bounded = Rules([Rule(Match.parse("b/path"), **says), Rule(Match.parse("c"), retries=1)])
    head = read_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b", Kinds())
    other = read_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: c", Kinds())
    alone = IngressConfig("", 0, rules=RulesInForce(bounded))
    among = IngressConfig("", 0, rules=RulesInForce(bounded), spreads_rules=True)
    assert forward(head, alone).options is NO_OPTIONS
    assert forward(other, among).options is NO_OPTIONS
    placed = forward(head, among)
    assert placed.place == b"http://b"
    assert placed.options == NO_OPTIONS._replace(is_plain=False, is_placed=True)
    among.rules.replace(Rules())
    assert forward(head, among).place == b""

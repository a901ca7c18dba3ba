"""Requests to a group: one message for each member, and one answer for all of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dispatcher.core.destination import Origin, group_in
from dispatcher.core.rules.table import Group, Rules, RulesInForce
from dispatcher.ingress import answers
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.entrance import PROXY
from dispatcher.ingress.planned import check_message
from dispatcher.queue.ports import CHUNK_BYTES
from dispatcher.schedules.plans import PlannedMessage
from dispatcher.schedules.surface import ScheduleInvalid
from dispatcher.testing.ingress import MemoryTransport
from tests.unit.test_ingress_connection import BUSY, CONFIG, Caller

IDS = [b"%028x" % number for number in range(1, 4)]


def group(name: str, *members: str) -> Group:
    return Group(name, tuple(Origin.parse(member.encode()) for member in members))


ALL = group("all", "http://a.example/base", "https://b.example:8443", "c.example/x/")


def grouped(*groups: Group) -> IngressConfig:
    return replace(CONFIG, rules=RulesInForce(Rules((), groups)))


def caller(*groups: Group, upload_at_once: bool = True) -> Caller:
    return Caller(config=grouped(*groups), upload_at_once=upload_at_once)


def request(
    body: bytes = b"", *lines: bytes, to: bytes = b"group:all", method: bytes = b"POST"
) -> bytes:
    head = (
        method + b" /p?q HTTP/1.1",
        b"A: 1",
        b"Host: caller",
        b"X-Dispatcher-Origin-Host: " + to,
        *lines,
        b"Content-Length: %d" % len(body),
    )
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def refusal(sender: Caller) -> tuple[int, str, str]:
    head, _, body = sender.received().partition(b"\r\n\r\n")
    answer = json.loads(body)
    return int(head.split(b" ")[1]), answer["error"], answer["message"]


def test_each_member_gets_the_request_as_if_it_had_been_sent_to_it_alone() -> None:
    """With its own Host and base path; everything else is the same, options too."""
    sender = caller(ALL)
    sender.send(request(b"body", b"X-Dispatcher-Timeout: 5s", b"X-Dispatcher-Label: l"))
    assert [str(one.destination) for one in sender.queue.messages] == [
        "http://a.example",
        "https://b.example:8443",
        "http://c.example",
    ]
    rest = b"Content-Length: 4\r\n"
    assert [one.head for one in sender.queue.messages] == [
        b"POST /base/p?q HTTP/1.1\r\nA: 1\r\nHost: a.example\r\n" + rest,
        b"POST /p?q HTTP/1.1\r\nA: 1\r\nHost: b.example:8443\r\n" + rest,
        b"POST /x/p?q HTTP/1.1\r\nA: 1\r\nHost: c.example\r\n" + rest,
    ]
    assert sender.queue.bodies == [b"body"] * 3
    for one in sender.queue.messages:
        assert (one.timeout_ms, one.body_size) == (5000, 4)
        assert one.terms is not None
        assert one.terms.label == "l"


def test_one_202_has_all_ids_in_the_order_of_the_members() -> None:
    """Joined by commas in the header, and as a list where JSON was asked for; not before all are
    durable."""
    sender = caller(ALL)
    sender.send(request(), request(b"", b"Accept: application/json"))
    assert sender.received() == b""
    sender.queue.settle(1)
    first = sender.received()
    assert b"X-Dispatcher-Message-Id: " + b",".join(IDS) + b"\r\n" in first
    assert first.endswith(b"Content-Length: 0\r\n\r\n")
    sender.queue.settle()
    head, _, body = sender.received().partition(b"\r\n\r\n")
    assert b"Content-Type: application/json\r\n" in head
    assert json.loads(body) == {"ids": [f"{number:028x}" for number in (4, 5, 6)]}


def test_group_of_one_is_a_group_too() -> None:
    """Who adds a second member later must not have to change how callers read the answer."""
    sender = caller(group("all", "a.example"))
    sender.send(request(b"", b"Accept: application/json"))
    sender.queue.settle()
    assert json.loads(sender.received().partition(b"\r\n\r\n")[2]) == {"ids": [IDS[0].decode()]}


def test_large_body_is_taken_once_for_all_members() -> None:
    """It arrives in pieces, with its length known or not, and each member's head tells it."""
    for chunks in (False, True):
        sender = caller(ALL)
        body = b"x" * (CHUNK_BYTES + 5)
        whole = request(body)
        if chunks:
            whole = whole.replace(
                b"Content-Length: %d\r\n\r\n" % len(body),
                b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body),
            )
            whole += b"\r\n0\r\n\r\n"
        sender.send(*(whole[at : at + 100_000] for at in range(0, len(whole), 100_000)))
        assert len(sender.queue.uploads) == 1
        assert sender.queue.bodies == [body] * 3
        for one in sender.queue.messages:
            assert one.head.endswith(b"Content-Length: %d\r\n" % len(body))
        sender.queue.settle()
        assert sender.statuses() == [202]
        assert sender.shared.memory.held_bytes == 0


def test_nothing_is_read_behind_a_group_until_it_was_answered() -> None:
    """The queue may copy bodies before it stores them, and would answer what is behind it first."""
    sender = caller(ALL)
    alone = request(b"alone", to=b"d.example")
    sender.send(alone + request(b"all") + alone)
    assert sender.queue.bodies == [b"alone", b"all", b"all", b"all"]
    sender.queue.settle(1)
    assert sender.statuses() == [202]
    sender.queue.settle(1)
    assert sender.statuses() == [202]
    assert sender.queue.bodies[4:] == [b"alone"]
    sender.queue.settle()
    assert sender.statuses() == [202]


def test_refusal_is_one_for_all() -> None:
    """And the connection goes on."""
    sender = caller(ALL)
    sender.send(request(b"one"))
    sender.queue.settle(refusal=BUSY)
    assert refusal(sender)[:2] == (503, "backlog_full")
    assert sender.shared.refused == {"backlog_full": 1}
    sender.send(request(b"two"))
    sender.queue.settle()
    assert sender.statuses() == [202]


def test_last_answer_of_a_server_that_stops_says_so() -> None:
    """As that of a plain message does."""
    sender = caller(ALL)
    sender.send(request())
    sender.shared.stopping = True
    sender.connection.end_soon()
    sender.queue.settle()
    answer = sender.received()
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"Connection: close\r\n" in answer
    assert sender.is_over


def test_answer_to_head_has_no_body() -> None:
    """The ids are in the header."""
    sender = caller(ALL)
    sender.send(request(b"", b"Accept: application/json", method=b"HEAD"))
    sender.queue.settle()
    assert sender.received().endswith(b"\r\n\r\n")


def test_members_are_those_of_now_on_a_connection_that_stays_open() -> None:
    """Although the next head is the same byte for byte; one whose body is under way keeps those of
    when its head came."""
    sender = caller(group("all", "a.example"))
    half = request(b"half")
    sender.send(request(b"1"), request(b"2"))
    sender.queue.settle()
    sender.queue.settle()
    sender.send(half[:-2])
    sender.shared.config.rules.replace(Rules((), [group("all", "b.example", "c.example")]))
    sender.send(half[-2:])
    sender.queue.settle()
    sender.send(request(b"3"))
    assert [one.destination.host for one in sender.queue.messages] == [
        *["a.example"] * 3,
        "b.example",
        "c.example",
    ]


def test_unknown_group_is_400_and_names_those_there_are() -> None:
    """Without groups the answer says where one is written."""
    sender = caller(ALL, group("orders", "a"))
    sender.send(request(b"", to=b"group:order"))
    status, slug, message = refusal(sender)
    assert (status, slug) == (400, "group_unknown")
    assert "There is no group `order`" in message
    assert "all, orders" in message
    many = [group(f"g{number}", "a") for number in range(30)]
    sender = caller(*many)
    sender.send(request(b"", to=b"group:" + b"\xff" * 100))
    _, _, message = refusal(sender)
    assert "g19 and 10 more" in message
    assert len(message) < 400
    sender = caller()
    sender.send(request())
    _, slug, message = refusal(sender)
    assert slug == "group_unknown"
    assert "[[group]]" in message
    assert "DISPATCHER_CONFIG" in message


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"group:orders", "orders"),
        (b"Group:orders", None),
        (b"group:1a", "1a"),
        (b"group:", ""),
        (b"group:orders/base", "orders/base"),
        (b"group:8080", None),
        (b"group:8080/base", None),
        (b"http://group:8080", None),
        (b"http://group:orders", None),
        (b"groups:80", None),
        (b"group", None),
    ],
)
def test_value_names_a_group_where_it_could_be_no_host(value: bytes, name: str | None) -> None:
    """A host that is called `group` keeps its ports."""
    assert group_in(value) == name


def test_key_belongs_to_the_places_of_a_group_and_the_print_to_the_request() -> None:
    """Whole or in pieces, and whatever paths the members have by then, it is the same request."""
    key = b"X-Dispatcher-Idempotency-Key: k"
    prints = set()
    for body in (b"body", b"x" * (CHUNK_BYTES + 1)):
        sender = caller(ALL)
        whole = request(body, key)
        sender.send(*([whole] if len(body) < 10 else [whole[:200_000], whole[200_000:]]))
        sender.queue.settle()
        sender.shared.config.rules.replace(Rules((), [group("all", "d/other", "e")]))
        sender.send(*(whole[at : at + 200_000] for at in range(0, len(whole), 200_000)))
        sender.queue.settle()
        terms = [one.terms for one in sender.queue.messages]
        assert [one and one.key_place for one in terms] == [
            "group:all/0",
            "group:all/1",
            "group:all/2",
            "group:all/0",
            "group:all/1",
        ]
        assert {one and one.idempotency_key for one in terms} == {"k"}
        (printed,) = {one and one.request_print for one in terms}
        prints.add(printed)
    sender = caller(ALL)
    sender.send(request(b"body", key).replace(b"/p?q", b"/p?r"))
    assert sender.queue.messages[0].terms is not None
    prints.add(sender.queue.messages[0].terms.request_print)
    assert len(prints) == 3


def test_duplicate_is_answered_with_the_ids_of_the_first() -> None:
    """And says what it is."""
    sender = caller(ALL)
    outbox = sender.connection.exchange.outbox
    outbox.place(answers.GROUP, 0).duplicate(b",".join(IDS))
    answer = sender.received()
    assert b"X-Dispatcher-Message-Id: " + b",".join(IDS) + b"\r\n" in answer
    assert b"X-Dispatcher-Duplicate: true\r\n" in answer


def test_older_spelling_names_groups_too() -> None:
    """Where the newer one is missing."""
    sender = caller(ALL)
    sender.send(request(b"").replace(b"Origin-Host", b"Original-Host"))
    assert len(sender.queue.messages) == 3


@pytest.mark.parametrize(("name", "value"), [("Scheme", "https"), ("Wait", "5s")])
def test_scheme_and_wait_are_not_for_a_group(name: str, value: str) -> None:
    """Its members say theirs, and no one's answer is that of all."""
    sender = caller(ALL)
    sender.send(request(b"", f"X-Dispatcher-{name}: {value}".encode()))
    status, slug, message = refusal(sender)
    assert (status, slug) == (400, f"{name.lower()}_invalid")
    assert f"X-Dispatcher-{name}" in message
    assert "members" in message


def test_proxy_takes_a_group_in_the_header_and_not_in_the_target() -> None:
    """What a target names before its path is a host and its port, as it is for every proxy."""
    sender = caller(ALL)
    sender.connection = Connection(sender.shared, PROXY)
    sender.transport = MemoryTransport()
    sender.connection.connection_made(sender.transport)
    sender.send(request(b"").replace(b"/p?q", b"http://elsewhere/p?q"))
    assert len(sender.queue.messages) == 3
    sender.queue.settle()
    assert sender.statuses() == [202]
    sender.send(b"GET http://group:all/ HTTP/1.1\r\nHost: group\r\n\r\n")
    assert refusal(sender)[1] == "origin_invalid"


def test_schedule_of_a_group_is_refused() -> None:
    """Its firing is one message, under one key, with one outcome; the refusal says what to do."""
    with pytest.raises(ScheduleInvalid, match=r"^destination: .*group.* a schedule for each"):
        check_message(PlannedMessage("group:all"), 0)
    check_message(PlannedMessage("group:8080"), 0)

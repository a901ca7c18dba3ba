"""A request to a group of n members against n requests: the same messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.destination import Origin
from dispatcher.core.message import Message
from dispatcher.core.rules.table import Group, Rules, RulesInForce
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.shared import Shared
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport
from tests.property.test_ingress_framing import Ready

PLACES = (
    "http://a.example",
    "https://a.example",
    "a.example:8080/base",
    "http://a.example/base/",
    "[::1]:81",
    "https://B.example/x",
)
OPTIONS = (
    b"X-Dispatcher-Timeout: 5s",
    b"X-Dispatcher-Delay: 1h",
    b"X-Dispatcher-Deadline: 2h",
    b"X-Dispatcher-Retries: 3",
    b"X-Dispatcher-Label: some",
)
lines = st.lists(
    st.sampled_from(
        [
            b"A: 1",
            b"a:2",
            b"B: \xff ",
            b"Connection: x-gone",
            b"X-Gone: 1",
            b"TE: trailers",
            b"Content-Type: text/plain",
        ]
    ),
    max_size=5,
)


def messages_of(data: bytes, members: list[str], piece: int) -> list[tuple[Message, bytes]]:
    queue = MemoryAcceptor(at_once=False)
    group = Group("all", tuple(Origin.parse(member.encode()) for member in members))
    config = IngressConfig("", 0, rules=RulesInForce(Rules((), [group])))
    connection = Connection(Shared(queue, config, Ready, lambda: 0.0))
    connection.connection_made(MemoryTransport())
    for at in range(0, len(data), piece):
        connection.data_received(data[at : at + piece])
    return list(zip(queue.messages, queue.bodies, strict=True))


@given(
    members=st.lists(st.sampled_from(PLACES), min_size=1, max_size=6, unique=True),
    method=st.sampled_from([b"POST", b"GET", b"PURGE"]),
    target=st.sampled_from([b"/", b"/p?q", b"http://elsewhere/x?", b"//"]),
    before=lines,
    after=lines,
    options=st.sets(st.sampled_from(OPTIONS)).map(sorted),
    body=st.binary(max_size=40),
    is_chunked=st.booleans(),
    piece=st.integers(1, 200),
)
def test_messages_of_a_group_are_those_of_single_requests(
    members: list[str],
    method: bytes,
    target: bytes,
    before: list[bytes],
    after: list[bytes],
    options: list[bytes],
    body: bytes,
    is_chunked: bool,
    piece: int,
) -> None:
    """Byte for byte, with the same terms, however the request is made and cut."""

    def request(to: str) -> bytes:
        head = [
            method + b" " + target + b" HTTP/1.1",
            *before,
            b"Host: caller",
            b"X-Dispatcher-Origin-Host: " + to.encode(),
            *after,
            *options,
            b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body),
        ]
        sent = body
        if is_chunked:
            sent = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        return b"\r\n".join(head) + b"\r\n\r\n" + sent

    together = messages_of(request("group:all"), members, piece)
    assert len(together) == len(members)
    for (one, one_body), member in zip(together, members, strict=True):
        ((other, other_body),) = messages_of(request(member), members, piece)
        assert one_body == other_body == body
        assert (one.destination, one.head, one.body_size, one.timeout_ms) == (
            other.destination,
            other.head,
            other.body_size,
            other.timeout_ms,
        )
        assert (one.terms is None) == (other.terms is None)
        if one.terms is not None and other.terms is not None:
            delays = [
                message.terms.not_before_us - message.accepted_at
                for message in (one, other)
                if message.terms is not None and message.terms.not_before_us
            ]
            assert len(set(delays)) <= 1
            assert (one.terms.retries, one.terms.label) == (other.terms.retries, other.terms.label)

"""Options made by Hypothesis, bytes in and bytes out: a message, or a 400 that names the header."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import assume, example, given
from hypothesis import strategies as st

from dispatcher.core.message import Message
from dispatcher.core.option_reading import read_options
from dispatcher.core.option_values import YEAR_MS
from dispatcher.core.options import BY_KEY, HEADERS, OPTIONS, OWN, PREFIX, written
from dispatcher.core.terms import Terms
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.connection import Connection
from dispatcher.ingress.shared import Shared
from dispatcher.queue.records.messages import decode_message, encode_message
from dispatcher.testing.ingress import MemoryAcceptor, MemoryTransport
from tests.property.test_ingress_framing import TOKEN, Ready

KNOWN = {header.title.lower() for header in HEADERS} | {title.lower() for title in OWN}

amounts = st.integers(0, 20) | st.sampled_from([365, 366, 3650, 3651, 10**18, 10**19])
durations = st.lists(
    st.tuples(amounts, st.sampled_from(["w", "d", "h", "m", "s", "ms", "", "S", "us"])),
    min_size=1,
    max_size=3,
).map(lambda parts: "".join(f"{amount}{unit}" for amount, unit in parts))
numbers = st.integers(-2, 1002).map(str) | st.integers(0, 10**20).map(str)


@st.composite
def instants(draw: st.DrawFn) -> str:
    """RFC 3339 of any year, or epoch seconds around now."""
    if draw(st.booleans()):
        return str(int(time.time()) + draw(st.integers(-100_000_000, 100_000_000)))
    offset = timezone(timedelta(minutes=draw(st.integers(-14 * 60, 14 * 60))))
    around = datetime.now(UTC).replace(tzinfo=None)
    moment = draw(
        st.datetimes() | st.datetimes(around - timedelta(400), around + timedelta(4000))
    ).replace(tzinfo=offset)
    text = moment.isoformat()
    return draw(st.sampled_from([text, text.replace("T", " "), text.replace(":59", ":60")]))


legal = st.binary(max_size=70).map(
    lambda raw: bytes(byte for byte in raw if byte == 9 or (byte >= 32 and byte != 127))
)
visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=66)
values = (
    durations.map(str.encode)
    | numbers.map(str.encode)
    | instants().map(str.encode)
    | visible.map(str.encode)
    | visible.map(lambda rest: f"https://a.example/{rest}".encode())
    | legal
)
blanks = st.sampled_from([b"", b" ", b"\t", b"  \t "])


@st.composite
def spelled(draw: st.DrawFn, title: str) -> bytes:
    """A name in any case."""
    flips = draw(st.lists(st.booleans(), min_size=len(title), max_size=len(title)))
    return "".join(
        one.swapcase() if flip else one for one, flip in zip(title, flips, strict=True)
    ).encode()


@st.composite
def option_lines(draw: st.DrawFn) -> tuple[str, bytes]:
    """The name of an option, and a line that has it."""
    title = draw(st.sampled_from([option.title for option in OPTIONS]))
    name = draw(st.just(title.encode()) | spelled(title))
    return title, name + b":" + draw(blanks) + draw(values) + draw(blanks)


class _Never:
    """A timer that is never due."""

    def cancel(self) -> None:
        """It is not."""


class Caller:
    """A connection to the listener. Who waits is told that there will be a retry."""

    def __init__(self) -> None:
        self.queue = MemoryAcceptor(at_once=False)
        self._transport = MemoryTransport()
        config = IngressConfig("", 0)
        shared = Shared(
            self.queue, config, Ready, lambda: 0.0, call_later=lambda after_s, callback: _Never()
        )
        self._connection = Connection(shared)
        self._connection.connection_made(self._transport)
        self._answered = 0
        self._taken = 0

    def send(self, *lines: bytes) -> tuple[int, bytes, Message | None]:
        """What a request is answered, status and body, and the message it became."""
        self._connection.data_received(
            b"POST /x HTTP/1.1\r\nHost: caller\r\nX-Dispatcher-Origin-Host: there\r\n"
            + b"".join(line + b"\r\n" for line in lines)
            + b"Content-Length: 2\r\n\r\nhi"
        )
        self.queue.settle()
        for waiter in [*self.queue.awaited.values()]:
            waiter.undecided()
        self.queue.awaited.clear()
        answer = bytes(self._transport.written)[self._answered :]
        self._answered += len(answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
        assert found is not None, "no answer"
        assert b"connection: close" not in head.lower()
        messages = self.queue.messages[self._taken :]
        self._taken += len(messages)
        assert len(messages) <= 1
        return int(found[1]), body, messages[0] if messages else None


def assert_named(status: int, body: bytes, names: set[str]) -> None:
    """It is a 400 that names one of these."""
    assert status == 400
    told = json.loads(body)["message"].lower()
    assert any(name.lower() in told for name in names)


def assert_kept(message: Message) -> None:
    """What was asked for survives the record, and what is shown of it is read as the same again;
    nothing of it is forwarded."""
    assert b"x-dispatcher-" not in message.head.lower()
    again = decode_message(encode_message(message))
    assert (again.terms, again.timeout_ms) == (message.terms, message.timeout_ms)
    terms = message.terms
    if terms is None:
        return
    now_us = message.accepted_at
    assert terms.not_before_us == 0 or now_us < terms.not_before_us <= now_us + YEAR_MS * 1001
    assert terms.deadline_us == 0 or terms.deadline_us > max(now_us - 10**6, terms.not_before_us)
    shown = [(BY_KEY[key], value) for key, value in written(terms).items()]
    read = read_options(shown, None).terms(0) if shown else Terms()
    assert read == replace(terms, request_print=0)  # which follows from the request


@given(st.lists(option_lines(), min_size=1, max_size=4))
@example([("X-Dispatcher-Deadline", b"X-Dispatcher-Deadline: 9999-12-31T23:59:59-14:00")])
@example([("X-Dispatcher-Deadline", b"X-Dispatcher-Deadline: 9999-12-31T23:59:60Z")])
@example([("X-Dispatcher-Not-Before", b"X-Dispatcher-Not-Before: 99999999999")])
def test_options_make_a_message_or_a_400_that_names_one_of_them(
    lines: list[tuple[str, bytes]],
) -> None:
    """Whatever is in them; and the connection can be used afterwards, for the same and for
    others."""
    caller = Caller()
    for _ in range(2):
        status, body, message = caller.send(*(line for _, line in lines))
        if message is None:
            assert_named(status, body, {title for title, _ in lines})
        else:
            assert status == 202
            asked = {title for title, _ in lines} - {"X-Dispatcher-Timeout", "X-Dispatcher-Wait"}
            assert (message.terms is not None) == bool(asked)
            assert_kept(message)
    status, _, message = caller.send()
    assert status == 202
    assert message is not None
    assert message.terms is None
    assert message.timeout_ms == 0


@given(st.lists(option_lines(), min_size=2, max_size=2), st.integers(0, 1))
def test_option_that_is_repeated_is_a_400_that_names_it(
    lines: list[tuple[str, bytes]], which: int
) -> None:
    """Also with the same value, and in another case."""
    assume(lines[0][0] != lines[1][0])
    _, line = lines[which]
    name, _, value = line.partition(b":")
    others = [text for _, text in lines]
    status, body, message = Caller().send(*others, name.swapcase() + b":" + value)
    assert message is None
    assert_named(status, body, {one for one, _ in lines})


@given(
    st.text(TOKEN, max_size=70).filter(lambda rest: (PREFIX + rest).lower() not in KNOWN),
    legal,
    st.lists(option_lines(), max_size=2),
    st.data(),
)
def test_unknown_header_of_ours_is_a_400_that_names_it(
    rest: str, value: bytes, lines: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    """Any name that begins so, in any case, beside any others."""
    title = PREFIX + rest
    at = data.draw(st.integers(0, len(lines)))
    given_ = [line for _, line in lines]
    given_.insert(at, data.draw(spelled(title)) + b": " + value.strip())
    caller = Caller()
    status, body, message = caller.send(*given_)
    assert message is None
    assert_named(status, body, {title} | {one for one, _ in lines})
    if not lines:
        assert json.loads(body)["error"] == "header_unknown"
    assert caller.send()[0] == 202

"""What follows from every way in which an attempt can end.

Retries come after some 20 ms here, and there are 3 of them.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest

from dispatcher.testing.destination import Close, Reset, Script, Send, Wait, answer
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead, failed, metrics, quick
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ORIGIN, ask, post, request

SETTINGS = {"RETRYLIMIT": "3", "DEFAULT_TIMEOUT": "60000", "WORKER": "20", "LOG_LEVEL": "debug"}

OK = b"HTTP/1.1 200 OK\r\n"


def is_quiet(receiver: Receiver, count: int, *, seconds: float = 0.25) -> bool:
    """No other attempt follows: longer than any delay here."""
    receiver.received(count)
    time.sleep(seconds)
    return len(receiver.requests) == count


def wait_for(server: ServerProcess, event: str, number: str) -> None:
    """Wait until something was logged about a message."""
    eventually(lambda: any(line["id"] == number for line in server.events(event)))


def assert_delivered(server: ServerProcess, receiver: Receiver, script: Script) -> None:
    """This answer settles the message."""
    receiver.script(script)
    number = accept(server, receiver, body=b"x").id
    wait_for(server, "message.delivered", number)
    assert is_quiet(receiver, 1, seconds=0.05)


def assert_tried_again(server: ServerProcess, receiver: Receiver, script: Script) -> str:
    """This answer is followed by another attempt, the same but for its number. Returns the slug of
    the failure, empty where the status was the reason."""
    receiver.script(script)
    number = accept(server, receiver, body=b"x").id
    first, second = receiver.received(2)
    assert first.headers["x-dispatcher-attempt"] == "1"
    assert first.raw.replace(b"Attempt: 1", b"Attempt: 2") == second.raw
    event = failed(server, number)
    assert event["next_attempt_at"] is not None
    return str(event["error"] or "")


def assert_dead_at_once(server: ServerProcess, receiver: Receiver, script: Script) -> str:
    """This answer makes the message a dead letter. Returns the reason."""
    receiver.script(script)
    number = accept(server, receiver, body=b"x").id
    event = dead(server, number)
    assert event["attempts"] == 1
    assert is_quiet(receiver, 1, seconds=0.05)
    return str(event["reason"])


# Statuses


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 205, 206, 207, 226, 299])
def test_any_2xx_is_delivered(server: ServerProcess, receiver: Receiver, status: int) -> None:
    """With a body or without."""
    assert_delivered(server, receiver, answer(status, length=status != 204))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 505, 507, 511, 599])
def test_temporary_status_is_tried_again(
    server: ServerProcess, receiver: Receiver, status: int
) -> None:
    """408, 425, 429 and every 5xx but 501."""
    assert assert_tried_again(server, receiver, answer(status)) == ""


@pytest.mark.parametrize(
    "status",
    [
        *range(300, 309),
        399,
        *range(400, 408),
        *range(409, 419),
        *range(421, 425),
        426,
        428,
        431,
        451,
        499,
        501,
    ],
)
def test_final_status_makes_a_dead_letter_at_once(
    server: ServerProcess, receiver: Receiver, status: int
) -> None:
    """501 and every other 3xx and 4xx: asking again will not help."""
    assert assert_dead_at_once(server, receiver, answer(status)) == "rejected"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(
    server: ServerProcess, receiver: Receiver, receivers: Receivers, status: int
) -> None:
    """Whoever answers does not decide where messages go."""
    with receivers.open() as other:
        location = ("Location", f"http://{other.authority}/")
        assert_dead_at_once(server, receiver, answer(status, b"", location))
        assert other.fake.connections == 0


@pytest.mark.parametrize("status", [600, 700, 999])
def test_status_that_does_not_exist_is_tried_again(
    server: ServerProcess, receiver: Receiver, status: int
) -> None:
    """It is neither success nor a verdict on the message."""
    assert_tried_again(server, receiver, answer(status))


@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE"])
def test_answers_without_a_body_are_understood(
    server: ServerProcess, receiver: Receiver, method: str
) -> None:
    """To HEAD, whatever length they speak of; 204; and the connection is used again."""
    bare = [Send(OK + b"Content-Length: 12345\r\n\r\n")]
    none = [Send(b"HTTP/1.1 204 No Content\r\n\r\n")]
    scripts = [bare if method == "HEAD" else none, none, none]
    receiver.script(*scripts)
    for count in (1, 2, 3):
        data = request(f"{method} / HTTP/1.1", "Host: x", ORIGIN + receiver.authority)
        number = ask(server.listen, data, to_head=method == "HEAD").id
        receiver.received(count)
        wait_for(server, "message.delivered", number)
    assert receiver.fake.connections == 1


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
def test_interim_answers_are_passed_over(
    server: ServerProcess, receiver: Receiver, interim: bytes
) -> None:
    """Only the final one counts."""
    script: Script = [Send(interim), Wait(0.02), Send(OK + b"Content-Length: 0\r\n\r\n")]
    assert_delivered(server, receiver, script)


def test_interim_answer_alone_is_no_success(server: ServerProcess, receiver: Receiver) -> None:
    """A destination that ends after it has not answered."""
    script: Script = [Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Close()]
    assert_tried_again(server, receiver, script)


def test_switching_protocols_is_no_success(server: ServerProcess, receiver: Receiver) -> None:
    """It was not asked for."""
    script: Script = [Send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), Close()]
    assert_tried_again(server, receiver, script)


@pytest.mark.parametrize(
    "script",
    [
        [Send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end"), Close()],
        [Send(OK + b"\r\nuntil the end"), Close()],
        [Send(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"), Close()],
        [Send(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n")],
        [Send(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")],
        [Send(OK + b"X-Bytes: \xff\xfe\r\nContent-Length: 0\r\n\r\n")],
        [Send(byte.to_bytes(1, "big")) for byte in OK + b"Content-Length: 1\r\n\r\nx"],
    ],
)
def test_complete_2xx_is_delivered_in_every_framing(
    server: ServerProcess, receiver: Receiver, script: Script
) -> None:
    """By length, chunks, or the end of the connection."""
    assert_delivered(server, receiver, script)


@pytest.mark.parametrize(
    "script",
    [
        [Send(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi")],
        [Send(OK + b"Set-Cookie: a=\x01b\r\nContent-Length: 2\r\n\r\nhi")],
        [Send(OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi")],
        [Send(OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n")],
        [Send(OK + b"Transfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n")],
        [Send(OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")],
    ],
)
def test_2xx_in_an_odd_spelling_is_delivered_once(
    server: ServerProcess, receiver: Receiver, script: Script
) -> None:
    """The destination has it and said so; another message goes out on a new connection."""
    assert_delivered(server, receiver, script)
    accept(server, receiver, body=b"x")
    receiver.received(2)
    assert len({one.connection for one in receiver.requests}) == 2


# No answer, or half of one


@pytest.mark.parametrize(
    "script",
    [
        [Close()],
        [Reset()],
        [Send(b"HTTP/1.1 20"), Close()],
        [Send(OK), Reset()],
        [Send(b"hello\r\n\r\n"), Close()],
        [Send(b"SSH-2.0-OpenSSH_9.6\r\n")],
        [Send(OK + b"Content-Length: x\r\n\r\n")],
        [Send(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")],
        [Send(OK + b"Bad Header: x\r\n\r\n"), Close()],
        [Send(OK + b"X: " + b"x" * 100_000)],
    ],
)
def test_no_or_broken_answer_is_tried_again(
    server: ServerProcess, receiver: Receiver, script: Script
) -> None:
    """Whatever did come of it."""
    slug = assert_tried_again(server, receiver, script)
    assert slug in {"connection_failed", "broken_response"}


@pytest.mark.parametrize(
    "script",
    [
        [Send(OK + b"Content-Length: 10\r\n\r\nhalf"), Close()],
        [Send(OK + b"Content-Length: 10\r\n\r\nhalf"), Reset()],
        [Send(OK + b"Content-Length: 10\r\n\r\n"), Close()],
        [Send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhal"), Close()],
        [Send(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), Close()],
        [Send(OK + b"Transfer-Encoding: chunked\r\n\r\nxx\r\n"), Close()],
        [Send(OK + b"\r\nuntil the end"), Reset()],
    ],
)
def test_2xx_that_is_cut_short_is_tried_again(
    server: ServerProcess, receiver: Receiver, script: Script
) -> None:
    """The destination may not have meant it."""
    assert assert_tried_again(server, receiver, script) == "broken_response"


@pytest.mark.parametrize(
    "script",
    [
        [Send(b"HTTP/1.1 400 No\r\n\r\nwhy"), Reset()],
        [Send(b"HTTP/1.1 413 No\r\nContent-Length: 10\r\n\r\nhalf"), Close()],
        [Send(b"HTTP/1.1 302 Go\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n"), Close()],
    ],
)
def test_final_status_is_final_when_its_answer_breaks_off(
    server: ServerProcess, receiver: Receiver, script: Script
) -> None:
    """Asking again would get the same."""
    assert assert_dead_at_once(server, receiver, script) == "rejected"


def test_2xx_that_still_drips_at_the_timeout_is_tried_again(
    server: ServerProcess, receiver: Receiver
) -> None:
    """The timeout is for the whole attempt, not for each piece."""
    drip: list[Send | Wait] = [Send(OK + b"Content-Length: 1000\r\n\r\n")]
    for _ in range(10_000):  # for longer than anybody waits here
        drip += [Send(b"."), Wait(0.02)]
    drip[0] = Send(OK + b"Content-Length: 100000\r\n\r\n")
    receiver.script(drip)
    began = time.monotonic()
    number = accept(server, receiver, "X-Dispatcher-Timeout: 300").id
    receiver.received(2)
    assert time.monotonic() - began > 0.29
    assert failed(server, number)["error"] == "timeout"


def test_after_1_mib_of_body_the_status_counts(server: ServerProcess, receivers: Receivers) -> None:
    """A destination that never ends its answer has answered: the rest is not read."""
    endless = b"x" * 65_536
    for status, event in ((200, "message.delivered"), (404, "message.dead_lettered")):
        head = f"HTTP/1.1 {status} X\r\nContent-Length: 999999999\r\n\r\n".encode()
        script = [Send(head), *[Send(endless)] * 17, Wait(600)]
        with receivers.open(default=script) as receiver:
            number = accept(server, receiver, "X-Dispatcher-Timeout: 300000").id
            wait_for(server, event, number)
            assert is_quiet(receiver, 1, seconds=0.05)


def test_body_of_just_under_1_mib_must_be_complete(
    server: ServerProcess, receiver: Receiver
) -> None:
    """A cut short one of that size is tried again; a whole one is delivered."""
    size = (1 << 20) - 1
    cut: Script = [Send(OK + f"Content-Length: {size + 1}\r\n\r\n".encode() + b"x" * size), Close()]
    assert assert_tried_again(server, receiver, cut) == "broken_response"
    receiver.script([Send(OK + f"Content-Length: {size}\r\n\r\n".encode() + b"x" * size)])
    wait_for(server, "message.delivered", accept(server, receiver).id)
    assert is_quiet(receiver, 3, seconds=0.05)


def test_timeout_is_tried_again(tmp_path: Path, receivers: Receivers) -> None:
    """A destination that says nothing; the caller's time counts, else `DEFAULT_TIMEOUT`."""
    cases = ((("X-Dispatcher-Timeout: 200",), 200), ((), 1500))
    with ServerProcess(tmp_path, **quick(DEFAULT_TIMEOUT="1500")) as server:
        for headers, timeout_ms in cases:
            with receivers.open() as receiver:
                receiver.script([Wait(600)])
                began = time.monotonic()
                number = accept(server, receiver, *headers).id
                _, second = receiver.received(2)
                # Attempts begin after this; the clock of their timeouts counts whole milliseconds.
                assert second.arrived_s - began > timeout_ms / 1000 - 0.002
                event = failed(server, number)
            assert event["error"] == "timeout"
            assert event["detail"].startswith(f"{timeout_ms} ms passed")
            assert event["status"] is None


def test_timeout_counts_for_every_attempt_anew(server: ServerProcess, receiver: Receiver) -> None:
    """Each has the whole of it."""
    receiver.script([Wait(600)], [Wait(0.5), *answer()])
    number = accept(server, receiver, "X-Dispatcher-Timeout: 3000").id
    wait_for(server, "message.delivered", number)
    assert is_quiet(receiver, 2, seconds=0.05)


def test_no_connection_is_tried_again(tmp_path: Path, receiver: Receiver) -> None:
    """The destination is down when the message comes, and gets it once it is up."""
    with ServerProcess(tmp_path, **quick(RETRYLIMIT="1000")) as server:
        receiver.run(receiver.fake.stop())
        number = accept(server, receiver).id
        event = failed(server, number)
        assert event["error"] == "connection_failed"
        assert event["next_attempt_at"] is not None
        receiver.run(receiver.fake.start())
        assert int(receiver.received()[0].headers["x-dispatcher-attempt"]) >= 2


def test_answer_before_the_body_was_read_counts(
    server: ServerProcess, receivers: Receivers
) -> None:
    """A destination may say no, or yes, at the head; both are its verdict."""
    for status, event in ((200, "message.delivered"), (403, "message.dead_lettered")):
        script = [*answer(status), Wait(0.05)]
        with receivers.open(at_head=True, default=script) as receiver:
            number = accept(server, receiver, body=b"x" * 3_000_000).id
            wait_for(server, event, number)


# Attempts


def test_attempts_are_counted_and_the_id_stays(server: ServerProcess, receiver: Receiver) -> None:
    """1, 2, 3, 4: one first try and `RETRYLIMIT` retries, then the dead-letter queue."""
    receiver.script(*[answer(500, b"broken")] * 5)
    before = metrics(server)
    number = accept(server, receiver, body=b"x").id
    event = dead(server, number)
    assert event["reason"] == "retries_exhausted"
    assert event["attempts"] == 4
    assert event["last_status"] == 500
    assert is_quiet(receiver, 4)
    found = [one.headers for one in receiver.requests]
    assert [one["x-dispatcher-attempt"] for one in found] == ["1", "2", "3", "4"]
    assert {one["x-dispatcher-message-id"] for one in found} == {number}
    after = metrics(server)
    total = "dispatcher_messages_dead_total"
    assert after[total] == before[total] + 1
    state = 'dispatcher_messages{state="dead"}'
    assert after[state] == before[state] + 1


def test_attempts_are_counted_by_outcome(server: ServerProcess, receiver: Receiver) -> None:
    """Successes, statuses and failures apart."""

    def counted() -> Counter[str]:
        found = re.compile(r'dispatcher_attempts_total\{outcome="(.*)"\}')
        named = ((found.fullmatch(key), value) for key, value in metrics(server).items())
        return Counter({match[1]: int(value) for match, value in named if match})

    eventually(lambda: metrics(server)['dispatcher_messages{state="scheduled"}'] == 0)
    eventually(lambda: metrics(server)['dispatcher_messages{state="in_flight"}'] == 0)
    before = counted()
    receiver.script(answer(500), [Send(b"no"), Close()], answer(200))
    accept(server, receiver)
    receiver.received(3)
    each = Counter({"http_5xx": 1, "broken_response": 1, "delivered": 1})
    eventually(lambda: counted() - before == each)


def test_delivered_messages_are_counted(server: ServerProcess, receiver: Receiver) -> None:
    """Once for each message, not for each attempt."""
    name = "dispatcher_messages_delivered_total"
    before = metrics(server)
    receiver.script(answer(500))
    for _ in range(3):
        accept(server, receiver)
    receiver.received(4)
    eventually(lambda: metrics(server)[name] == before[name] + 3)
    accepted = "dispatcher_messages_accepted_total"
    assert metrics(server)[accepted] == before[accepted] + 3


# Connections


def test_connections_are_kept_and_used_again(server: ServerProcess, receiver: Receiver) -> None:
    """One for messages that come one after another."""
    for _ in range(5):
        wait_for(server, "message.delivered", accept(server, receiver, body=b"x").id)
    assert receiver.fake.connections == 1


@pytest.mark.parametrize("end", [Close(), Reset()])
@pytest.mark.parametrize("size", [0, 100, 600_000])
def test_stale_connection_is_replaced_without_spending_an_attempt(
    server: ServerProcess, receiver: Receiver, end: Close | Reset, size: int
) -> None:
    """Closed as the request was written, before any byte of an answer: sent again at once on
    another connection, with the same number."""
    wait_for(server, "message.delivered", accept(server, receiver).id)
    receiver.script([end])
    accept(server, receiver, body=b"s" * size)
    _, stale, again = receiver.received(3)
    assert again.raw == stale.raw
    assert again.headers["x-dispatcher-attempt"] == "1"
    assert again.connection != stale.connection
    assert is_quiet(receiver, 3, seconds=0.05)


def test_connection_closed_while_idle_is_not_used(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Nor is the attempt spent."""
    wait_for(server, "message.delivered", accept(server, receiver).id)
    receiver.run(receiver.fake.disconnect())
    accept(server, receiver)
    assert receiver.received(2)[1].headers["x-dispatcher-attempt"] == "1"


def test_fresh_connection_that_closes_spends_the_attempt(
    server: ServerProcess, receiver: Receiver
) -> None:
    """Else a destination that always closes would be asked without end."""
    receiver.script([Close()], [Close()])
    accept(server, receiver)
    found = [one.headers["x-dispatcher-attempt"] for one in receiver.received(3)]
    assert found == ["1", "2", "3"]


def test_messages_with_a_body_are_the_same_on_every_attempt(
    server: ServerProcess, receiver: Receiver
) -> None:
    """A large body is read from the log again."""
    body = bytes(range(256)) * 3000
    receiver.script(answer(503), answer(503))
    assert ask(server.listen, post(receiver.authority, body=body)).id
    assert [bytes(one.body) == body for one in receiver.received(3)] == [True] * 3

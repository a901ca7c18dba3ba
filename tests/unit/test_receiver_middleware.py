"""What the receiver lets an application see, the same for ASGI and for WSGI."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dispatcher.receiver import UNSIGNED, MemoryStore, Standing, StoreUnavailable
from tests.unit.receivers import (
    BODY,
    SECRET,
    Answer,
    Handler,
    ask_asgi,
    ask_wsgi,
    signed,
)

Asking = Callable[..., Answer]


@pytest.fixture(params=[ask_asgi, ask_wsgi], ids=["asgi", "wsgi"])
def ask(request: pytest.FixtureRequest) -> Asking:
    """Sends requests to receivers that share a store, and know the secret."""
    store = MemoryStore()
    how: Asking = request.param

    def ask(handler: Handler, headers: Any, body: bytes = BODY, **options: Any) -> Answer:
        return how(handler, headers, body, **({"store": store, "secrets": SECRET} | options))

    return ask


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_body_arrives_as_it_was_sent(ask: Asking, pieces: int) -> None:
    """Byte for byte, however it came in; and the response goes out as it is."""
    handler = Handler(status=201)
    assert ask(handler, signed(), pieces=pieces) == Answer(201, {}, b"done")
    assert handler.bodies == [BODY]


def test_body_may_be_empty(ask: Asking) -> None:
    """It is signed all the same."""
    handler = Handler()
    assert ask(handler, signed(body=b""), b"").status == 200
    assert handler.bodies == [b""]


def test_duplicate_is_answered_at_once(ask: Asking) -> None:
    """200, as the sender needs it to stop, and marked; the application sees nothing."""
    handler = Handler()
    ask(handler, signed())
    answer = ask(handler, signed())
    assert answer.status == 200
    assert answer.headers["x-dispatcher-duplicate"] == "true"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert json.loads(answer.body) == {"duplicate": True, "id": "m"}
    assert len(handler.bodies) == 1
    assert ask(handler, signed("another")).body == b"done"


def test_message_whose_handler_raises_is_handled_again(ask: Asking) -> None:
    """The error is the server's to answer, as without a receiver."""
    with pytest.raises(ZeroDivisionError):
        ask(Handler(fails=True), signed())
    handler = Handler()
    assert ask(handler, signed()).body == b"done"
    assert handler.bodies == [BODY]


@pytest.mark.parametrize("status", [199, 302, 400, 500, 503])
def test_message_that_is_not_answered_2xx_is_handled_again(ask: Asking, status: int) -> None:
    """The sender does so too, or somebody redrives it."""
    assert ask(Handler(status=status), signed()).status == status
    assert ask(Handler(), signed()).body == b"done"


@pytest.mark.parametrize("status", [200, 204, 299])
def test_message_that_is_answered_2xx_was_handled(ask: Asking, status: int) -> None:
    """Any of them."""
    ask(Handler(status=status), signed())
    assert "x-dispatcher-duplicate" in ask(Handler(), signed()).headers


def test_message_that_is_being_handled_is_not_handled_twice(ask: Asking) -> None:
    """The second is told to ask again: had it 200, and the first failed, the message would be
    lost."""
    second = Handler()
    answers: list[Answer] = []
    handler = Handler(status=500, during=lambda: answers.append(in_another_thread(ask, second)))
    assert ask(handler, signed()).status == 500
    assert [(answer.status, answer.error) for answer in answers] == [(425, "message_running")]
    assert answers[0].headers["retry-after"] == "1"
    assert second.bodies == []


def in_another_thread(ask: Asking, handler: Handler) -> Answer:
    """As a second request at the same time; a loop that runs here can't run another one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(ask, handler, signed()).result()


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        (list, "signature_missing"),
        (lambda: [("X-Dispatcher-Message-Id", "m")], "signature_missing"),
        (lambda: [*signed()[::2], ("webhook-timestamp", "1")], "signature_expired"),
        (lambda: [*signed()[::2], ("webhook-timestamp", "x")], "signature_malformed"),
        (lambda: signed(body=b"another"), "signature_wrong"),
    ],
)
def test_request_that_is_not_signed_is_refused(
    ask: Asking, headers: Callable[[], Any], slug: str
) -> None:
    """401 with a reason, and its message stays free. Signed when it is sent: a signature is old
    after five minutes."""
    handler = Handler()
    answer = ask(handler, headers())
    assert (answer.status, answer.error) == (401, slug)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["www-authenticate"] == "Standard-Webhooks"
    assert len(json.loads(answer.body)["message"]) > 20
    assert handler.bodies == []
    assert ask(handler, signed()).body == b"done"


def test_clock_and_tolerance_are_the_receivers(ask: Asking) -> None:
    """For messages that wait for long on their way to the one who signs none anew."""

    def late() -> float:
        return time.time() + 1000

    assert ask(Handler(), signed(), clock=late).error == "signature_expired"
    assert ask(Handler(), signed(), clock=late, tolerance_s=2000).status == 200


def test_unsigned_requests_are_told_apart_by_the_dispatchers_id(ask: Asking) -> None:
    """On purpose only."""
    handler = Handler()
    for message_id in ("a", "a", "b"):
        ask(handler, [("X-Dispatcher-Message-Id", message_id)], secrets=UNSIGNED)
    assert len(handler.bodies) == 2
    answer = ask(handler, [], secrets=UNSIGNED)
    assert (answer.status, answer.error) == (400, "message_id_missing")


def test_duplicates_are_let_through_without_a_store(ask: Asking) -> None:
    """Only the signature is checked then; without that, nothing but the length."""
    handler = Handler()
    for _ in range(2):
        assert ask(handler, signed(), store=None).body == b"done"
    assert ask(handler, [], store=None).status == 401
    assert ask(handler, [], store=None, secrets=UNSIGNED).body == b"done"
    assert handler.bodies == [BODY] * 3


def test_body_above_the_bound_is_refused(ask: Asking) -> None:
    """Whether its length was said or not, and not a byte below it."""
    handler = Handler()
    answer = ask(handler, signed(), most_bytes=len(BODY) - 1)
    assert (answer.status, answer.error) == (413, "body_too_large")
    assert "most_bytes" in json.loads(answer.body)["message"]
    said = [*signed(), ("Content-Length", str(len(BODY)))]
    assert ask(handler, said, most_bytes=len(BODY) - 1).status == 413
    assert handler.bodies == []
    assert ask(handler, said, most_bytes=len(BODY)).body == b"done"


def test_length_that_is_no_number_is_refused(ask: Asking) -> None:
    """Servers do so too."""
    answer = ask(Handler(), [*signed(), ("Content-Length", "1e3")])
    assert (answer.status, answer.error) == (400, "body_broken")


def test_other_paths_are_left_alone(ask: Asking) -> None:
    """A health check is not signed."""
    handler = Handler()
    paths = {"paths": ["/hooks"]}
    assert ask(handler, [], path="/health", **paths).body == b"done"
    assert ask(handler, [], path="/hooks/a", **paths).status == 401
    assert handler.bodies == [BODY]


def test_store_that_cannot_tell_has_the_sender_ask_again(
    ask: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong with it stands in the log, and not in the answer."""

    class Broken(MemoryStore):
        def claim(self, message_id: str, token: str, *, now_us: int, lease_us: int) -> Standing:
            raise StoreUnavailable("/secret/place: disk I/O error")

    handler = Handler()
    answer = ask(handler, signed(), store=Broken())
    assert (answer.status, answer.error) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert b"/secret/place" not in answer.body
    assert "store_unavailable: /secret/place: disk I/O error" in caplog.text
    assert handler.bodies == []


def test_store_that_cannot_keep_the_end_leaves_the_response_alone(ask: Asking) -> None:
    """What was handled was handled; the sender had better not send it again."""

    class Full(MemoryStore):
        def finish(self, message_id: str, *, now_us: int) -> None:
            raise StoreUnavailable("disk full")

    assert ask(Handler(), signed(), store=Full()).body == b"done"


def test_store_is_told_the_end_once(ask: Asking) -> None:
    """Each word costs a transaction."""
    told = []

    class Counting(MemoryStore):
        def finish(self, message_id: str, *, now_us: int) -> None:
            told.append("finish")

        def release(self, message_id: str, token: str) -> None:
            told.append("release")

    ask(Handler(), signed(), store=Counting())
    ask(Handler(status=500), signed(), store=Counting())
    assert told == ["finish", "release"]

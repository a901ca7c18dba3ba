"""`dispatcher send`: the bytes it writes to the listener, and following the message."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dispatcher.cli.address import Server
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import NotFound, Unreachable
from dispatcher.cli.main import main
from dispatcher.cli.send import watch
from dispatcher.core.options import OPTIONS, Option
from tests.integration.cli_serving import Canned, answer

ID = "0" * 27 + "1"
ACCEPTED = answer(202, "", f"X-Dispatcher-Message-Id: {ID}")


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Canned]:
    """A listener that accepts one message."""
    monkeypatch.chdir(tmp_path)
    with Canned([ACCEPTED]) as server:
        monkeypatch.setenv("DISPATCHER_LISTENER", server.url)
        yield server


def send(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command. Returns its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["send", *arguments])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return int(ended.value.code or 0), said.out, said.err


def test_send_writes_what_was_asked_for_and_nothing_else(
    listener: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """The target byte for byte, headers in their order and spelling, none added."""
    code, out, _ = send(
        capsys,
        "https://example.com:8443/a%2Fb//c?x=1&&y#".rstrip("#"),
        *("-X", "PUT", "-H", "X-b: 1", "-H", "x-B:ü", "-d", "hé", "--timeout", "500"),
    )
    assert (code, out) == (0, f"{ID}\n")
    expected = (
        "PUT /a%2Fb//c?x=1&&y HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{listener.port}\r\n"
        "X-Dispatcher-Origin-Host: https://example.com:8443\r\n"
        "X-b: 1\r\nx-B: ü\r\nX-Dispatcher-Timeout: 500\r\nContent-Length: 3\r\n\r\nhé"
    )
    assert listener.requests == [expected.encode()]


def test_send_says_that_a_message_was_there_before(capsys: pytest.CaptureFixture[str]) -> None:
    """Under the same idempotency key: its id, and that nothing was stored."""
    same = answer(202, "", f"X-Dispatcher-Message-Id: {ID}", "X-Dispatcher-Duplicate: true")
    arguments = ("h", "--idempotency-key", "order-7", "--listener")
    with Canned([same, same]) as server:
        code, out, err = send(capsys, *arguments, server.url)
        assert (code, out) == (0, f"{ID}\n")
        assert "nothing was stored" in err
        assert json.loads(send(capsys, *arguments, server.url, "--json")[1]) == {
            "id": ID,
            "duplicate": True,
        }


VALUES = (
    "90s",
    "7",
    "2027-01-31T12:00:00Z",
    "https://example.com/told",
    "rate=10/1m",
    "abc",
)
"""There is one among them for every option."""


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_send_has_a_flag_for_each_option(
    listener: Canned, capsys: pytest.CaptureFixture[str], option: Option
) -> None:
    """What follows it is the header's value; one that it cannot have is not sent."""
    flag = "--response-within" if option.key == "wait" else f"--{option.key.replace('_', '-')}"
    value = next(one for one in VALUES if option.read(one) is not None)
    assert send(capsys, "h", flag, value)[0] == 0
    head = listener.requests[0].decode("ascii")
    assert f"\r\n{option.title}: {value}\r\n" in head
    code, _, err = send(capsys, "h", flag, "b a d")
    assert (code, len(listener.requests)) == (2, 1)
    assert f"{flag} b a d: expected {option.takes.replace('`', '')}" in err


@pytest.mark.parametrize(
    ("status", "outcome", "code"), [(201, "delivered", 0), (404, "dead", 1), (202, None, 0)]
)
def test_send_prints_what_the_destination_answered(
    capsysbinary: pytest.CaptureFixture[bytes], status: int, outcome: str | None, code: int
) -> None:
    """Below the id, where it was known in time; 1 when the message was given up."""
    lines = [f"X-Dispatcher-Message-Id: {ID}", "X-Made: 7"]
    lines += [f"X-Dispatcher-Outcome: {outcome}"] if outcome else []
    said = answer(status, "made", *lines)
    with Canned([said, said]) as server:
        arguments = ["send", "h", "--response-within", "10s", "--listener", server.url]
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert int(ended.value.code or 0) == code
        printed = capsysbinary.readouterr()
        assert printed.out == f"{ID}\n{'made' if outcome else ''}".encode()
        said_so = f"It is {outcome}; the answer was {status}.".encode() in printed.err
        assert said_so == (outcome is not None)
        assert b"\r\nX-Dispatcher-Wait: 10s\r\n" in server.requests[0]
        with pytest.raises(SystemExit):
            main([*arguments, "--json"])
    shown = json.loads(capsysbinary.readouterr().out)
    assert shown["id"] == ID
    assert shown.get("outcome") == outcome
    if outcome is not None:
        assert (shown["status"], base64.b64decode(shown["body"])) == (status, b"made")
        assert ["X-Made", "7"] in shown["headers"]


def test_send_through_a_base_path_names_only_the_host(
    listener: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    """The path of a gateway is put before the target, and is no part of `Host`."""
    base = f"{listener.url}/dispatch/"
    assert send(capsys, "https://example.com/a", "--listener", base)[0] == 0
    (request,) = listener.requests
    assert request.startswith(b"POST /dispatch/a HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{listener.port}\r\n".encode() in request


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("h", "POST / HTTP/1.1"),
        ("h?a", "POST /?a HTTP/1.1"),
        ("http://h/?", "POST /? HTTP/1.1"),
        ("h/a b/ü", "POST /a%20b/%C3%BC HTTP/1.1"),
    ],
)
def test_send_makes_a_target_of_what_was_typed(
    listener: Canned, capsys: pytest.CaptureFixture[str], url: str, line: str
) -> None:
    """What cannot stand in a request is percent-encoded; a POST without body says so."""
    assert send(capsys, url, "--json")[:2] == (0, json.dumps({"id": ID}) + "\n")
    assert listener.requests[0].startswith(line.encode() + b"\r\n")
    assert b"\r\nContent-Length: 0\r\n" in listener.requests[0]


@pytest.mark.parametrize("data", ["-", "@-", "@body"])
def test_send_streams_files_and_standard_input(
    listener: Canned,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    data: str,
) -> None:
    """In chunks: however large they are."""
    body = bytes(range(10, 256)) * 1000
    Path("body").write_bytes(body)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    assert send(capsys, "h", "-d", data)[0] == 0
    head, _, chunks = listener.requests[0].partition(b"\r\n\r\n")
    assert head.endswith(b"Transfer-Encoding: chunked")
    assert _joined(chunks) == body


def _joined(chunks: bytes) -> bytes:
    stream = io.BytesIO(chunks)
    parts = []
    while size := int(stream.readline(), 16):
        parts.append(stream.read(size))
        stream.readline()
    return b"".join(parts)


@pytest.mark.parametrize(
    "arguments",
    [
        ("http://u:p@h/",),
        ("h/#f",),
        ("",),
        ("h", "-H", "nocolon"),
        ("h", "-H", "Host: x"),
        ("h", "-H", "content-length: 3"),
        ("h", "-H", "X-Dispatcher-Key: k"),
        ("h", "-H", "a b: c"),
        ("h", "-H", "a: b\nc: d"),
        ("h", "-X", "A\r\nB"),
        ("h", "-d", "@missing"),
        ("h", "--timeout", "0"),
        ("h", "--timeout", "1.5s"),
        ("h", "--timeout", "\u0663"),
    ],
)
def test_send_exits_2_when_it_cannot_be_sent(
    listener: Canned, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Nothing reaches the listener."""
    assert send(capsys, *arguments)[0] == 2
    assert listener.requests == []


@pytest.mark.parametrize(("status", "code"), [(400, 2), (401, 8), (413, 1), (503, 9)])
def test_send_ends_with_the_code_of_the_refusal(
    capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    """With what the listener said."""
    with Canned([answer(status, '{"error": "some_slug", "message": "m"}')]) as server:
        found, out, err = send(capsys, "h", "--listener", server.url)
    assert (found, out) == (code, "")
    assert "some_slug" in err


def test_send_says_that_it_is_no_listener_when_there_is_no_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Any web server answers 200."""
    with Canned([answer(200, "hello")]) as server:
        found, out, err = send(capsys, "h", "--listener", server.url)
    assert (found, out) == (1, "")
    assert "not a dispatcher's listener; see --listener" in err


@pytest.mark.parametrize("status", [401, 403])
def test_send_says_where_the_key_of_the_listener_is_read(
    capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """It is another one than the API's."""
    with Canned([answer(status, '{"error": "key_invalid", "message": "m"}')]) as server:
        found, _, err = send(capsys, "h", "--listener", server.url)
    assert found == 8
    assert "A key is read from --listener-key-file or DISPATCHER_LISTENER_KEY." in err


def test_send_shows_the_key_of_the_listener(
    listener: Canned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the settings, at the address of the settings: the first that may send."""
    monkeypatch.delenv("DISPATCHER_LISTENER")
    monkeypatch.setenv("LISTEN", f":{listener.port}")
    monkeypatch.setenv("LISTEN_KEYS", "mon:read:watching,shop:dispatch:other,sesame")
    assert send(capsys, "h")[0] == 0
    assert b"\r\nX-Dispatcher-Key: sesame\r\n" in listener.requests[0]


def test_send_shows_no_key_of_the_settings_to_another_listener(
    listener: Canned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to the address of the settings."""
    monkeypatch.setenv("LISTEN_KEYS", "sesame")
    assert send(capsys, "h")[0] == 0
    assert b"sesame" not in listener.requests[0]


@pytest.mark.parametrize(("state", "code"), [("delivered", 0), ("dead", 1)])
def test_send_waits_until_it_is_over(
    listener: Canned, capsys: pytest.CaptureFixture[str], state: str, code: int
) -> None:
    """The id is all there is on standard output."""
    views = [{"id": ID, "state": one, "attempts": 1} for one in ("in_flight", state)]
    with Canned([answer(200, json.dumps(view)) for view in views]) as api:
        found, out, err = send(capsys, "h", "--wait", "--url", api.url)
    assert (found, out) == (code, f"{ID}\n")
    assert err.splitlines()[:2] == ["in_flight, 1 attempt", f"{state}, 1 attempt"]


def test_send_to_a_group_prints_an_id_a_line_and_waits_for_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that is dead does not end it before the others are over, and is the exit code."""
    monkeypatch.chdir(tmp_path)
    ids = [f"{number:028x}" for number in (1, 2, 3)]
    views = [
        {"id": one, "state": state, "attempts": 1}
        for one, state in zip(ids, ("delivered", "dead", "delivered"), strict=True)
    ]
    accepted = answer(202, "", f"X-Dispatcher-Message-Id: {','.join(ids)}")
    with (
        Canned([accepted] * 2) as listener,
        Canned([answer(200, json.dumps(view)) for view in views]) as api,
    ):
        monkeypatch.setenv("DISPATCHER_LISTENER", listener.url)
        code, out, err = send(capsys, "group:orders/new?x", "--wait", "--url", api.url)
        assert send(capsys, "group:orders", "--json")[1] == json.dumps({"ids": ids}) + "\n"
    assert (code, out.split()) == (1, ids)
    assert [line.split(",")[0] for line in err.splitlines()[:3]] == [
        "delivered",
        "dead",
        "delivered",
    ]
    assert f"{ids[1]} is dead" in err
    head = listener.requests[0]
    assert head.startswith(b"POST /new?x HTTP/1.1\r\n")
    assert b"\r\nX-Dispatcher-Origin-Host: group:orders\r\n" in head


class Watched(Api):
    """An API that answers with what it is given; an exception is raised. The last one stays."""

    def __init__(self, answers: list[Json | Exception]) -> None:
        super().__init__(Server("http", "127.0.0.1", 1), None)
        self.answers = answers

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found


def watched(*answers: Json | Exception) -> list[object]:
    """What `watch` yields, and how many seconds that took."""
    now_s = [0.0]

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    return [*watch(Watched([*answers]), ID, clock=lambda: now_s[0], sleep=sleep)]


def test_watch_yields_what_changes_and_outlives_a_restart() -> None:
    """The server may be away for a moment."""
    ready, over = {"state": "ready"}, {"state": "delivered"}
    assert watched(ready, ready, Unreachable("gone"), ready, over) == [ready, over]


def test_watch_yields_an_instant_once_when_it_trembles() -> None:
    """The API asks two clocks for the next attempt, one after the other: microseconds are no news.
    Another attempt, or another time for it, is."""

    def scheduled(attempts: int, second: str) -> Json:
        at = f"2026-01-31T12:00:{second}Z"
        return {"state": "scheduled", "attempts": attempts, "next_attempt_at": at}

    first, later, second = (
        scheduled(1, "02.104000"),
        scheduled(1, "07.104000"),
        scheduled(2, "07.104001"),
    )
    over = {"state": "delivered", "attempts": 3, "next_attempt_at": None}
    answers = (first, scheduled(1, "02.103999"), scheduled(1, "02.104002"), later, second, over)
    assert watched(*answers) == [first, later, second, over]


def test_watch_gives_up_when_the_api_is_gone_for_long() -> None:
    """Exit code 7; a message that nobody knows any more is 6."""
    with pytest.raises(Unreachable):
        watched({"state": "ready"}, Unreachable("gone"))
    with pytest.raises(NotFound):
        watched({"state": "ready"}, NotFound("unknown"))

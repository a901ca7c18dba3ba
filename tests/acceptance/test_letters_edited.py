"""Dead letters that are changed as they are redriven: destination, headers, body."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from dispatcher.testing.destination import Request, answer
from tests.acceptance.receiver import Receiver, Receivers, eventually
from tests.acceptance.running import accept, dead, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.test_moving import call, shown
from tests.acceptance.wire import Answer

SETTINGS = {"MAX_BODY": "3MiB", "MASK_HEADERS": "X-Api-Key"}
SENT = ("Authorization: Bearer s3cret", "X-Api-Key: k3y", "X-First: 1", "X-First: 2")


def letter(server: ServerProcess, receiver: Receiver, body: bytes = b"old", *headers: str) -> str:
    """The id of a dead letter."""
    receiver.script(answer(404))
    number = accept(server, receiver, *(headers or SENT), body=body).id
    dead(server, number)
    return number


def redrive(server: ServerProcess, number: str, **edit: object) -> Answer:
    return call(server, f"/v1/dead-letters/{number}/redrive", edit)


def sent_again(receiver: Receiver, number: str, count: int = 2) -> Request:
    """What came to a destination in the end, of the message that was redriven."""
    one = receiver.received(count)[count - 1]
    assert one.headers["x-dispatcher-message-id"] == number
    assert one.headers["x-dispatcher-attempt"] == "1"
    return one


def base(body: bytes) -> str:
    return base64.b64encode(body).decode()


def headers(server: ServerProcess, number: str) -> list[list[str]]:
    found: list[list[str]] = shown(server, f"/v1/dead-letters/{number}")["headers"]
    return found


def fields(one: Request) -> list[bytes]:
    """Its header lines, without those of the attempt."""
    return one.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:-2]


def test_letter_goes_to_another_destination_as_it_was(
    server: ServerProcess, receivers: Receivers, receiver: Receiver
) -> None:
    """With that `Host`, and every other byte as it came; the event says where to."""
    number = letter(server, receiver)
    with receivers.open() as other:
        to = f"http://{other.authority}"
        assert redrive(server, number, destination=to).json["redriven"] == 1
        one = sent_again(other, number, 1)
        before = fields(receiver.requests[0])
        after = [line.replace(other.authority.encode(), receiver.authority.encode())
                 for line in fields(one)]  # fmt: skip
        assert (before, one.body) == (after, receiver.requests[0].body)
    told = eventually(lambda: server.events("operator.redriven"))
    assert told[-1]["selection"] == {"id": number, "edited": ["destination"], "to": to}


def test_body_is_another_one_with_its_length(server: ServerProcess, receiver: Receiver) -> None:
    """Small, empty, and as large as what is accepted. None of it is in the event."""
    for number, body in enumerate((b"new \x00\xff", b"", b"n" * (3 * 1024 * 1024)), 1):
        id_ = letter(server, receiver, b"old" * number)
        assert redrive(server, id_, body=base(body)).status == 202
        one = sent_again(receiver, id_, 2 * number)
        assert one.body == body
        assert one.headers["content-length"] == str(len(body))
    told = server.events("operator.redriven")[-1]
    assert told["selection"]["edited"] == ["body"]
    too_large = redrive(server, letter(server, receiver), body=base(b"n" * (3 * 1024 * 1024 + 1)))
    assert (too_large.status, too_large.slug) == (413, "body_too_large")


def test_headers_that_come_back_masked_keep_their_values(
    server: ServerProcess, receiver: Receiver
) -> None:
    """As a page sends them that somebody has changed one line in."""
    number = letter(server, receiver)
    edited = [["X-New", "yes"] if line == ["X-First", "1"] else line
              for line in headers(server, number)]  # fmt: skip
    assert ["Authorization", "Bearer ***"] in edited
    assert redrive(server, number, headers=edited).status == 202
    one = sent_again(receiver, number)
    assert fields(one) == [
        b"X-New: yes" if line == b"X-First: 1" else line for line in fields(receiver.requests[0])
    ]
    assert b"Authorization: Bearer s3cret" in fields(one)


def test_headers_are_those_that_are_given_and_no_others(
    server: ServerProcess, receiver: Receiver
) -> None:
    """But for `Host` and `Content-Length`, which are made right."""
    number = letter(server, receiver)
    given = [["X-Only", "J\xfcrgen"], ["host", "wrong"], ["Authorization", "Bearer n3w"]]
    assert redrive(server, number, headers=given, body=base(b"12345")).status == 202
    assert fields(sent_again(receiver, number)) == [
        b"X-Only: J\xfcrgen",
        f"Host: {receiver.authority}".encode(),
        b"Authorization: Bearer n3w",
        b"Content-Length: 5",
    ]


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ({"headers": [["Connection", "close"]]}, "Connection"),
        ({"headers": [["Transfer-Encoding", "chunked"]]}, "Transfer-Encoding"),
        ({"headers": [["X-Dispatcher-Delay", "1s"]]}, "X-Dispatcher-Delay"),
        ({"headers": [["X-Dispatcher-Message-Id", "1"]]}, "X-Dispatcher-Message-Id"),
        ({"headers": [["Bad name", "1"]]}, "headers"),
        ({"headers": [["X-A", "1\r\nX-B: 2"]]}, "line end"),
        ({"headers": [["X-A\r\nX-B", "2"]]}, "headers"),
        ({"headers": [["Host", "a\r\nTransfer-Encoding: chunked"]]}, "line end"),
        ({"headers": [["Content-Length", "3\r\n\r\nGET /"]]}, "line end"),
        ({"headers": [["X-A", "\u20ac"]]}, "Latin-1"),
        ({"headers": [["X-A", "a\x00"]]}, "headers"),
        ({"headers": [["X-A", "a" * 66_000]]}, "65536"),
        ({"headers": [["Host", "a"], ["host", "b"]]}, "host"),
        ({"headers": [["Cookie", "***"]]}, "Cookie"),
        ({"headers": [["X-A"]]}, "headers"),
        ({"headers": "X-A: 1"}, "headers"),
        ({"body": "no base64!"}, "base64"),
        ({"body": 7}, "body"),
        ({"destination": "ftp://a"}, "destination"),
        ({"destination": "https://a/path"}, "path"),
        ({"to": "https://a"}, "to"),
        ({"destination": None}, "null"),
    ],
)  # fmt: skip
def test_what_could_not_be_sent_is_refused_and_the_letter_stays(
    server: ServerProcess, receiver: Receiver, edit: dict[str, object], what: str
) -> None:
    """With what is wrong."""
    number = letter(server, receiver)
    refused = redrive(server, number, **edit)
    assert refused.status == 400
    assert refused.slug in ("body_invalid", "destination_invalid")
    assert what in refused.json["message"]
    assert headers(server, number)


def test_nothing_to_change_is_a_plain_redrive(server: ServerProcess, receiver: Receiver) -> None:
    """Without a body, and with an empty object."""
    edits: tuple[dict[str, object] | None, ...] = (None, {})
    for count, edit in enumerate(edits, 1):
        number = letter(server, receiver)
        path = f"/v1/dead-letters/{number}/redrive"
        assert call(server, path, edit).json["redriven"] == 1
        assert sent_again(receiver, number, 2 * count).body == b"old"
        assert server.events("operator.redriven")[-1]["selection"] == {"id": number}
    gone = redrive(server, number, body=base(b"x"))
    assert (gone.status, gone.slug) == (404, "dead_letter_unknown")


def test_callback_keeps_what_says_whose_it_is(
    server: ServerProcess, receivers: Receivers, receiver: Receiver
) -> None:
    """Its header is one of ours, and comes back as it was."""
    with receivers.open() as told:
        told.script(answer(404))
        accept(server, receiver, f"X-Dispatcher-Callback: http://{told.authority}/ok")
        number = told.received(1)[0].headers["x-dispatcher-message-id"]
        dead(server, number)
        edited = [*headers(server, number), ["X-Again", "1"]]
        assert redrive(server, number, headers=edited).status == 202
        one = sent_again(told, number)
        assert one.headers["x-again"] == "1"
        assert one.headers["x-dispatcher-callback-of"]


def test_edited_letter_is_sent_as_edited_after_a_crash(
    tmp_path: Path, receivers: Receivers
) -> None:
    """With a large new body too; the letter is gone, and nothing is sent as it was."""
    large = b"L" * 700_000
    with receivers.open() as old, receivers.open() as new:
        with ServerProcess(tmp_path, **quick()) as server:
            small_id, large_id = (letter(server, old, b"old") for _ in range(2))
            path = f"/v1/destinations/{new.authority}/hold"
            assert call(server, path).status == 200
            for number, body in ((small_id, b"new"), (large_id, large)):
                edited = redrive(server, number, destination=new.authority, body=base(body))
                assert edited.status == 202
            server.kill()
        with ServerProcess(tmp_path, **quick()) as server:
            assert shown(server, "/v1/dead-letters")["items"] == []
            assert call(server, f"/v1/destinations/{new.authority}/resume").status == 200
            came = {one.headers["x-dispatcher-message-id"]: one.body for one in new.received(2)}
            assert came == {small_id: b"new", large_id: large}
            assert len(old.requests) == 2
            assert server.stop() == 0


def test_large_edits_wait_for_each_other(server: ServerProcess, receiver: Receiver) -> None:
    """And a large one is read as well as a small one."""
    numbers = [letter(server, receiver) for _ in range(3)]
    body = json.dumps({"body": base(b"z" * (2 * 1024 * 1024))}, separators=(", ", ": "))
    for number in numbers:
        assert call(server, f"/v1/dead-letters/{number}/redrive", json.loads(body)).status == 202
    again = receiver.received(6)[3:]
    assert {len(one.body) for one in again} == {2 * 1024 * 1024}


def test_command_changes_what_it_is_told_to(
    server: ServerProcess, receivers: Receivers, receiver: Receiver, tmp_path: Path
) -> None:
    """Destination, headers and body; what is masked where it is shown is sent as it is stored."""
    number = letter(server, receiver)
    host, port = server.api
    (tmp_path / "body").write_bytes(b"new \x00\xff")
    edit = ("dead", "redrive", number, "--url", f"http://{host}:{port}")
    with receivers.open() as other:
        ran = run(
            tmp_path,
            *(*edit, "--to", other.authority, "-H", "x-first: ü", "--header", "X-New: 7"),
            *("--remove-header", "x-api-key", "--body-file", "body"),
        )
        assert ran.returncode == 0, ran.stderr
        one = sent_again(other, number, 1)
        assert one.body == b"new \x00\xff"
        assert one.headers["authorization"] == "Bearer s3cret"
        assert "x-api-key" not in one.headers
        lines = fields(one)
        assert "x-first: ü".encode() in lines
        assert not any(line.startswith(b"X-First") for line in lines)
        assert b"X-New: 7" in lines

"""Bodies of dead letters by themselves, and requests as commands of curl."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dispatcher.testing.destination import Request, answer
from tests.acceptance.receiver import Receiver
from tests.acceptance.running import accept, dead, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import ask, get, request

LARGE = bytes(range(256)) * 12_000  # in more than one piece


def die(server: ServerProcess, receiver: Receiver, *headers: str, body: bytes = b"") -> str:
    """Have a message die; returns the path of its letter."""
    receiver.script(answer(404))
    number = accept(server, receiver, *headers, body=body).id
    dead(server, number)
    return f"/v1/dead-letters/{number}"


def command(server: ServerProcess, directory: Path, *arguments: str) -> bytes:
    """What a command prints."""
    host, port = server.api
    ran = run(directory, *arguments, DISPATCHER_API=f"http://{host}:{port}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.encode()


def test_letter_is_shown_without_its_body(server: ServerProcess, receiver: Receiver) -> None:
    """`body=false`: everything else is there, and at once, however large the body is."""
    path = die(server, receiver, body=LARGE)
    shown = get(server.api, f"{path}?body=false").json
    whole = get(server.api, path).json
    assert base64.b64decode(whole.pop("body")) == LARGE
    assert shown.pop("body") is None
    assert shown == whole
    assert shown["size_bytes"] == len(LARGE)


@pytest.mark.parametrize("limit", [0, 1, 65_536, 300_000, len(LARGE), len(LARGE) + 1])
def test_beginning_of_a_body_is_its_first_bytes(
    server: ServerProcess, receiver: Receiver, limit: int
) -> None:
    """As they are, and as what a browser saves and does not open."""
    path = die(server, receiver, body=LARGE)
    answered = get(server.api, f"{path}/body?limit={limit}")
    assert answered.body == LARGE[:limit]
    assert answered.headers["content-type"] == "application/octet-stream"
    number = path.rpartition("/")[2]
    assert answered.headers["content-disposition"] == f'attachment; filename="{number}.bin"'
    assert answered.headers["x-content-type-options"] == "nosniff"


def test_body_is_given_whole_and_of_letters_alone(
    server: ServerProcess, receiver: Receiver
) -> None:
    """A limit is a number; what is no letter has none."""
    path = die(server, receiver, body=LARGE)
    assert get(server.api, f"{path}/body").body == LARGE
    refused = get(server.api, f"{path}/body?limit=some")
    assert (refused.status, refused.json["error"]) == (400, "parameter_invalid")
    missing = get(server.api, f"/v1/dead-letters/{'0' * 28}/body")
    assert (missing.status, missing.json["error"]) == (404, "dead_letter_unknown")


def test_command_shows_the_beginning_of_a_large_body(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    """Of text 64 KiB, also where they end within a character; `--body` prints all of it."""
    text = "ab" + "ü" * 100_000
    number = die(server, receiver, body=text.encode()).rpartition("/")[2]
    printed = command(server, tmp_path, "dead", "show", number).decode()
    assert f"  ab{'ü' * 32_767}\n" in printed
    assert f"dispatcher dead show {number} --body" in printed
    assert command(server, tmp_path, "dead", "show", number, "--body").decode() == text


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        (
            "POST",
            "/a//b/../%7e?x=1&y=%20'&",
            ("Content-Type: text/plain", "X-A: it's"),
            b"@it's\n",
        ),
        ("PUT", "/b", ("X-Empty:", "x-a: 1", "X-A: 2", "User-Agent: me"), LARGE[:5000]),
        ("PATCH", "/c?", ("Accept: text/html",), "@Grüße\r\n".encode() * 200),
        ("DELETE", "/d[1-2]{x}", (), b""),
        ("POST", "/e", ("Content-Length: 0",), b""),
    ],
)
def test_curl_sends_the_request_again(
    server: ServerProcess,
    receiver: Receiver,
    tmp_path: Path,
    method: str,
    target: str,
    headers: tuple[str, ...],
    body: bytes,
) -> None:
    """The same method, target, headers and body; `Host` and the length stand where curl puts
    them."""
    receiver.script(answer(404))
    length = [f"Content-Length: {len(body)}"] if body else []
    sent = request(
        f"{method} {target} HTTP/1.1",
        "Host: dispatcher",
        f"X-Dispatcher-Origin-Host: {receiver.authority}",
        *headers,
        *length,
        body=body,
    )
    number = ask(server.listen, sent).id
    dead(server, number)
    script = command(server, tmp_path, "dead", "show", number, "--curl").decode()
    if f"@{number}.bin" in script:
        answered = get(server.api, f"/v1/dead-letters/{number}/body")
        (tmp_path / f"{number}.bin").write_bytes(answered.body)
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    first, second = receiver.received(2)
    assert second.head.split(b"\r\n")[0] == first.head.split(b"\r\n")[0]
    assert second.body == first.body == body

    def lines(one: Request) -> list[bytes]:
        found = one.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
        return sorted(line.replace(b": ", b":", 1) for line in found)

    assert lines(second) == lines(first)


def test_curl_says_what_is_missing_in_it(
    server: ServerProcess, receiver: Receiver, tmp_path: Path
) -> None:
    """Masked secrets, unless they are asked for, and a body that is in a file."""
    path = die(server, receiver, "Authorization: Bearer s3cret", body=b"\x00")
    number = path.rpartition("/")[2]
    masked = get(server.api, f"{path}/curl").body.decode()
    assert "Bearer ***" in masked
    assert masked.startswith("# Secrets are masked")
    assert f"dispatcher dead show {number} --body > {number}.bin" in masked
    revealed = command(server, tmp_path, "dead", "show", number, "--curl", "--reveal").decode()
    assert "'Authorization: Bearer s3cret'" in revealed
    assert "Secrets" not in revealed
    assert json.loads(command(server, tmp_path, "dead", "show", number, "--json"))["id"] == number

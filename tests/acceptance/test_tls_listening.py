"""TLS on LISTEN and API_LISTEN."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from tests.acceptance.receiver import Receiver, eventually
from tests.acceptance.running import ROOT, dead, quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import Caller, ask, chunked, get, post, request


def write(
    authority: trustme.CA, directory: Path, name: str, until: datetime | None = None
) -> dict[str, str]:
    """Issue a certificate for loopback, valid for long or until then; returns the settings that
    name its files, for both."""
    made = authority.issue_cert("127.0.0.1", "localhost", not_after=until)
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    cert.write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    return {f"{one}_TLS_{what}": str(path) for one in ("LISTEN", "API")
            for what, path in (("CERT", cert), ("KEY", key))}  # fmt: skip


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client that trusts one authority."""
    made = ssl.create_default_context()
    authority.configure_trust(made)
    made.set_alpn_protocols(["h2", "http/1.1"])
    return made


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whom callers trust."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """With what callers connect."""
    return trusting(authority)


@pytest.fixture(scope="module")
def server(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with TLS on both. It must live through all of its tests, and log no error."""
    directory = tmp_path_factory.mktemp("server")
    settings = write(authority, directory, "both") | {"MAX_BODY": "8MiB", "LOG_LEVEL": "debug"}
    with ServerProcess(directory, **quick(**settings)) as made:
        yield made
        assert made.stop() == 0
        assert [line for line in made.lines if line["level"] == "error"] == []
        assert made.stderr == ""


def sample(server: ServerProcess, tls: ssl.SSLContext, start: str) -> float:
    """The value of a metric, 0 where it has none."""
    lines = get(server.api, "/metrics", tls=tls).body.decode().splitlines()
    return next((float(one.rpartition(" ")[2]) for one in lines if one.startswith(start)), 0.0)


def test_messages_come_in_as_they_do_without(
    server: ServerProcess, receiver: Receiver, tls: ssl.SSLContext
) -> None:
    """Small and large bodies, with a length and chunked, byte for byte, pipelined on a connection
    that is kept, and answered in order."""
    large = bytes(range(256)) * (5 * 4096)
    bodies = [b"", b"x" * 100_000, large, b"end"]
    with Caller(server.listen, tls=tls) as caller:
        for body in bodies:
            caller.send(post(receiver.authority, path=f"/{len(body)}", body=body))
        head = request("POST /chunked HTTP/1.1", "Host: d",
                       f"X-Dispatcher-Origin-Host: {receiver.authority}",
                       "Transfer-Encoding: chunked")  # fmt: skip
        caller.send(head + chunked(large, b"tail"))
        ids = [caller.answer().id for _ in range(5)]
    came = {one.head.split()[1].decode(): one for one in receiver.received(5)}
    for body, number in zip(bodies, ids, strict=False):
        one = came[f"/{len(body)}"]
        assert bytes(one.body) == body
        assert one.headers["x-dispatcher-message-id"] == number
    assert bytes(came["/chunked"].body) == large + b"tail"


def test_protocol_is_http_1_1_and_versions_are_new(
    server: ServerProcess, tls: ssl.SSLContext
) -> None:
    """A client that speaks HTTP/2 too is told what we speak."""
    for address in (server.listen, server.api):
        with (
            socket.create_connection(address, 60) as plain,
            tls.wrap_socket(plain, server_hostname=address[0]) as one,
        ):
            assert one.selected_alpn_protocol() == "http/1.1"
            assert one.version() in ("TLSv1.2", "TLSv1.3")


def test_body_is_asked_for_where_the_caller_waits_for_that(
    server: ServerProcess, receiver: Receiver, tls: ssl.SSLContext
) -> None:
    """`Expect: 100-continue`."""
    with Caller(server.listen, tls=tls) as caller:
        data = post(receiver.authority, "Expect: 100-continue", body=b"late")
        caller.send(data[:-4])
        assert caller.answer().status == 100
        caller.send(data[-4:])
        assert caller.answer().id


def test_caller_that_ends_its_side_gets_its_answers(
    server: ServerProcess, receiver: Receiver, tls: ssl.SSLContext
) -> None:
    """After whole requests; half a request is nothing."""
    with Caller(server.listen, tls=tls) as caller:
        caller.send(post(receiver.authority, path="/a") + post(receiver.authority, path="/b"))
        caller.send(post(receiver.authority, path="/c", body=b"half")[:-2])
        caller.finish()
        assert [caller.answer().status for _ in range(2)] == [202, 202]
        assert caller.at_end()


def test_refused_upload_is_told_why(server: ServerProcess, tls: ssl.SSLContext) -> None:
    """Its caller still sends when the answer is written, and reads it all the same."""
    with Caller(server.listen, tls=tls) as caller:
        head = request("POST / HTTP/1.1", "Host: d", "X-Dispatcher-Origin-Host: 127.0.0.1:9",
                       "Transfer-Encoding: chunked")  # fmt: skip
        caller.send(head)
        for _ in range(9):
            caller.send(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        assert caller.answer().slug == "body_too_large"
        caller.finish()
        assert caller.at_end()


def test_answer_that_nobody_reads_stops_reading(
    server: ServerProcess, receiver: Receiver, tls: ssl.SSLContext
) -> None:
    """Many requests at once, more than may be owed: reading pauses, and all are answered."""
    with Caller(server.listen, tls=tls) as caller:
        caller.send(post(receiver.authority, path="/many") * 500)
        assert {caller.answer().status for _ in range(500)} == {202}


def test_who_speaks_no_tls_is_told_so_and_counted(
    server: ServerProcess, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """HTTP gets an answer in HTTP; nothing of it is in the log above `debug`. A check of a load
    balancer that only connects is no failure."""
    plain = 'dispatcher_handshakes_failed_total{reason="plain"}'
    refused = 'dispatcher_handshakes_failed_total{reason="refused"}'
    before = sample(server, tls, plain), sample(server, tls, refused)
    for address in (server.listen, server.api):
        assert ask(address, post("127.0.0.1:9")).slug == "tls_expected"
        with pytest.raises(ssl.SSLError):
            Caller(address, tls=ssl.create_default_context())
        socket.create_connection(address, 60).close()
    eventually(
        lambda: (
            (sample(server, tls, plain), sample(server, tls, refused))
            == (before[0] + 2, before[1] + 2)
        )
    )
    told = server.events("handshake.failed")
    assert {line["level"] for line in told} == {"debug"}
    assert {line["reason"] for line in told} == {"plain", "refused"}
    assert {line["listener"] for line in told} == {"listen", "api"}


def test_api_and_dashboard_are_there(server: ServerProcess, tls: ssl.SSLContext) -> None:
    """With https addresses in the first lines, and the instant when the certificates expire."""
    assert get(server.api, "/v1/stats", tls=tls).status == 200
    assert b"<html" in get(server.api, "/", tls=tls).body.lower()
    assert get(server.listen, "/readyz", tls=tls).status == 200
    ready = server.event("server.ready")
    assert ready["dashboard"] == "https://{}:{}/".format(*server.api)
    assert ready["send_to"] == "https://{}:{}".format(*server.listen)
    for listener in ("listen", "api"):
        name = f'dispatcher_certificate_expires_timestamp_seconds{{listener="{listener}"}}'
        assert sample(server, tls, name) > 1e9


def test_events_are_streamed(
    server: ServerProcess, receiver: Receiver, tls: ssl.SSLContext
) -> None:
    """As they happen."""
    with (
        socket.create_connection(server.api, 60) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        stream.sendall(request("GET /v1/events HTTP/1.1", "Host: localhost"))
        came = b""
        while b"\r\n\r\n" not in came:
            came += stream.recv(65536)
        number = ask(server.listen, post(receiver.authority), tls=tls).id
        while number.encode() not in came:
            data = stream.recv(65536)
            assert data
            came += data


def test_own_listener_is_no_destination(server: ServerProcess, tls: ssl.SSLContext) -> None:
    """Neither with https nor without."""
    for scheme in ("http", "https"):
        target = f"{scheme}://{server.listen[0]}:{server.listen[1]}"
        number = ask(server.listen, post(target), tls=tls).id
        assert dead(server, number)["reason"] == "egress_denied"


def test_certificates_are_read_again_on_sighup(tmp_path: Path, receiver: Receiver) -> None:
    """New connections get the new one, those that are open stay; a mistake keeps the old one and is
    told."""
    old, new = trustme.CA(), trustme.CA()
    settings = write(old, tmp_path, "both")
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        with Caller(server.listen, tls=trusting(old)) as kept:
            write(new, tmp_path, "both")
            server.signal(signal.SIGHUP)
            replaced = server.event("settings.reloaded")["replaced"]
            assert sorted(replaced) == ["API_TLS_CERT", "LISTEN_TLS_CERT"]
            for address in (server.listen, server.api):
                assert get(address, "/readyz", tls=trusting(new)).status == 200
                with pytest.raises(ssl.SSLError):
                    Caller(address, tls=trusting(old))
            kept.send(post(receiver.authority))
            assert kept.answer().status == 202

        (tmp_path / "both.key").write_text("nothing")
        server.signal(signal.SIGHUP)
        reason = server.event("settings.kept")["reason"]
        assert "LISTEN_TLS_KEY=" in reason
        assert get(server.listen, "/readyz", tls=trusting(new)).status == 200
        assert server.stop() == 0


@pytest.mark.parametrize("setting", ["LISTEN_TLS_CERT", "DISPATCHER_CONFIG", "SIGNING_KEY"])
def test_server_stops_while_a_file_that_is_read_again_hangs(tmp_path: Path, setting: str) -> None:
    """As one does on a network file system whose server is gone."""
    settings = write(trustme.CA(), tmp_path, "both")
    settings |= {"DISPATCHER_CONFIG": "rules.toml", "SIGNING_KEY": str(tmp_path / "signing.pem")}
    (tmp_path / "rules.toml").touch()
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        place = tmp_path / settings[setting]
        place.unlink()
        os.mkfifo(place)
        server.signal(signal.SIGHUP)
        with held_open(place):
            assert server.stop() == 0


@contextlib.contextmanager
def held_open(fifo: Path) -> Iterator[None]:
    """Whoever opens it to read from it waits for data that never come."""
    opened: list[int] = []

    def is_read() -> bool:
        try:
            opened.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads it yet
            return False
        return True

    eventually(is_read)
    try:
        yield
    finally:
        os.close(opened[0])


def test_certificate_that_has_expired_is_shown_and_warned_of(
    authority: trustme.CA, tmp_path: Path, tls: ssl.SSLContext
) -> None:
    """At the start, at SIGHUP, and by `config check`."""
    expired = datetime(2020, 1, 1, tzinfo=UTC)
    settings = write(authority, tmp_path, "both", expired)
    with ServerProcess(tmp_path, **quick(**settings)) as server:
        told = server.events("certificate.not_valid")
        assert [line["listener"] for line in told] == ["listen", "api"]
        assert told[0]["path"] == str(tmp_path / "both.pem")
        assert told[0]["valid_until"] == "2020-01-01T00:00:00.000000Z"
        with pytest.raises(ssl.SSLError, match="expired"):
            Caller(server.listen, tls=tls)
        server.signal(signal.SIGHUP)
        assert server.event("settings.reloaded")["replaced"] == []
        assert len(server.events("certificate.not_valid")) == 4
        write(authority, tmp_path, "both")
        server.signal(signal.SIGHUP)
        eventually(lambda: len(server.events("settings.reloaded")) == 2)
        assert get(server.listen, "/readyz", tls=tls).status == 200
        assert len(server.events("certificate.not_valid")) == 4
        assert server.events("settings.kept") == []
    write(authority, tmp_path, "both", expired)
    listening = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}
    ended = run(tmp_path, "config", "check", **listening, **settings)
    assert ended.returncode == 0
    assert ended.stderr.count("to 2020-01-01T00:00:00.000000Z, and not now") == 2


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ({"LISTEN_TLS_KEY": ""}, "expected LISTEN_TLS_KEY too"),
        ({"API_TLS_CERT": ""}, "expected API_TLS_CERT too"),
        ({"API_TLS_KEY": "/nowhere/key.pem"}, "API_TLS_KEY=/nowhere/key.pem: No such file"),
        ({"LISTEN_TLS_CERT": "other.pem"}, "key values mismatch"),
        ({"LISTEN_TLS_CERT": "empty.pem"}, "LISTEN_TLS_CERT=empty.pem"),
    ],
)
def test_certificate_that_cannot_be_used_is_said_in_a_line(
    authority: trustme.CA, tmp_path: Path, broken: dict[str, str], expected: str
) -> None:
    """Exit code 2, before anything is listened on; `config check` says the same."""
    settings = write(authority, tmp_path, "both")
    write(authority, tmp_path, "other")
    (tmp_path / "empty.pem").touch()
    listening = {"LISTEN": "127.0.0.1:0", "API_LISTEN": "127.0.0.1:0"}
    for command in ("serve", "config check"):
        ended = run(tmp_path, *command.split(), **listening, **(settings | broken))
        assert ended.returncode == 2
        assert expected in ended.stderr
        assert "Traceback" not in ended.stderr


def test_command_line_speaks_to_both(
    server: ServerProcess, receiver: Receiver, authority: trustme.CA, tmp_path: Path
) -> None:
    """With the file of the authority; without it nothing is sent, and what to do is said. From the
    settings alone it knows the certificate, whatever name that is for."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    api, listener = (f"https://{host}:{port}" for host, port in (server.api, server.listen))
    command = ("send", f"http://{receiver.authority}/x", "--listener", listener, "--url", api,
               "--wait")  # fmt: skip
    ended = run(tmp_path, *command, DISPATCHER_CA_FILE="ca.pem")
    assert ended.returncode == 0, ended.stderr
    assert len(receiver.received(1)) == 1

    refused = run(tmp_path, "stats", "--url", api)
    assert refused.returncode == 7
    assert "DISPATCHER_CA_FILE" in refused.stderr
    wrong = run(tmp_path, "stats", "--url", api, DISPATCHER_CA_FILE="none.pem")
    assert wrong.returncode == 2

    ready = server.event("server.starting")["settings"]
    named = {name: ready[name] for name in ready if "_TLS_" in name}
    own = {"API_LISTEN": "{}:{}".format(*server.api), **named}
    assert run(tmp_path, "stats", **own).returncode == 0
    other = write(authority, tmp_path, "other")
    assert run(tmp_path, "stats", **(own | other)).returncode == 7


def test_health_check_of_the_image_speaks_tls(server: ServerProcess) -> None:
    """Whoever issued the certificate."""
    script = ROOT / "config" / "container" / "healthcheck.py"
    environ = {"LISTEN": "{}:{}".format(*server.listen)}
    command = [sys.executable, "-I", "-S", str(script)]
    ended = subprocess.run(command, env=environ, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout

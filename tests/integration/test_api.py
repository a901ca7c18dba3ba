"""The API listener over real sockets: health, metrics, keys and errors."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from dispatcher.api.server import ApiServer
from dispatcher.core.keys import Key, Keyring, Role
from dispatcher.errors import ConfigError, LogBusy, PortTaken
from dispatcher.telemetry.metrics import CONTENT_TYPE
from dispatcher.testing.api import ApiBench

KEYS = (b"first-key", b"second key")


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys."""
    async with ApiBench() as bench:
        yield bench


@pytest.fixture
async def locked() -> AsyncIterator[ApiBench]:
    """An API with keys."""
    async with ApiBench(KEYS) as bench:
        yield bench


async def test_healthz_answers_200_whatever_the_health(api: ApiBench) -> None:
    """The process lives."""
    api.reason = "disk_full"
    status, _, body = await api.ask("/healthz")
    assert (status, json.loads(body)) == (200, {"status": "alive"})


async def test_readyz_answers_200_when_messages_are_accepted(api: ApiBench) -> None:
    """And the log is healthy."""
    status, _, body = await api.ask("/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    "reason",
    [
        "recovering",
        "starting",
        "shutting_down",
        "disk_full",
        "disk_stalled",
        "backlog_full",
        "log_failed",
        "overloaded",
    ],
)
async def test_readyz_answers_503_with_the_reason(api: ApiBench, reason: str) -> None:
    """A load balancer sees the status, a person the reason."""
    api.reason = reason
    assert await api.error("/readyz") == (503, reason)


async def test_health_needs_no_key_when_keys_are_set(locked: ApiBench) -> None:
    """Load balancers and supervisors have none."""
    assert (await locked.ask("/healthz"))[0] == 200
    assert (await locked.ask("/readyz"))[0] == 200


async def test_metrics_are_prometheus_text_read_at_every_request(api: ApiBench) -> None:
    """Version 0.0.4, in UTF-8."""
    status, headers, body = await api.ask("/metrics")
    assert (status, headers["Content-Type"], body) == (200, CONTENT_TYPE, "up 1\n")
    api.render = lambda: 'up{a="ä"} 2\n'
    assert (await api.ask("/metrics"))[2] == 'up{a="ä"} 2\n'


@pytest.mark.parametrize(
    "value", ["Bearer first-key", "Bearer second key", "bearer first-key", "BEARER  second key"]
)
async def test_metrics_answer_when_one_of_the_keys_is_shown(locked: ApiBench, value: str) -> None:
    """The scheme in any case (RFC 9110, 11.1)."""
    assert (await locked.ask("/metrics", headers={"Authorization": value}))[0] == 200


@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer ", "Bearer first", "Bearer first-keys", "Basic first-key",
     "first-key", "Bearer FIRST-KEY", "Bearer first-key,second key", "Bearer clé"],
)  # fmt: skip
async def test_metrics_answer_401_when_no_valid_key_is_shown(
    locked: ApiBench, value: str | None
) -> None:
    """With the scheme that is expected (RFC 9110, 11.6.1)."""
    headers = {} if value is None else {"Authorization": value}
    assert await locked.error("/metrics", headers=headers) == (401, "key_invalid")
    assert (await locked.ask("/metrics", headers=headers))[1]["WWW-Authenticate"] == "Bearer"


async def test_unknown_path_answers_401_when_no_key_is_shown(locked: ApiBench) -> None:
    """Strangers cannot find out what there is."""
    assert await locked.error("/v1/other") == (401, "key_invalid")
    headers = {"Authorization": "Bearer first-key"}
    assert await locked.error("/v1/other", headers=headers) == (404, "not_found")


def test_no_key_is_valid_when_nothing_is_shown() -> None:
    """Not even an empty one."""
    assert Keyring.of_secrets(*KEYS).find(b"") is None
    assert Keyring().find(b"") is None
    assert Keyring.of_secrets(*KEYS).find(b"second key") is not None


@pytest.mark.parametrize("path", ["/metrics/", "/v1/nothing", "/healthz/x", "//metrics"])
async def test_unknown_path_answers_404(api: ApiBench, path: str) -> None:
    """In the shape of every error."""
    assert await api.error(path) == (404, "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"])
async def test_wrong_method_answers_405(api: ApiBench, path: str, method: str) -> None:
    """`Allow` says which are right."""
    assert await api.error(path, method) == (405, "method_not_allowed")
    assert (await api.ask(path, method))[1]["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/healthz?a=1", "/readyz?verbose", "/metrics?name%5B%5D=x"])
async def test_unknown_parameter_answers_400(api: ApiBench, path: str) -> None:
    """Unknown parameters are errors, not ignored."""
    assert await api.error(path) == (400, "parameter_unknown")


async def test_head_answers_like_get_without_a_body(api: ApiBench) -> None:
    """Some load balancers ask like that."""
    status, headers, body = await api.ask("/readyz", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


async def test_answer_does_not_say_what_it_is_made_with(api: ApiBench) -> None:
    """No versions for strangers."""
    for path in ("/healthz", "/nothing"):
        assert "Server" not in (await api.ask(path))[1]


async def test_api_says_log_busy_when_a_record_cannot_be_read_now(api: ApiBench) -> None:
    """Descriptors are lacking for a moment: no failure of the server, and not logged as one."""

    def fail() -> str:
        raise LogBusy("too many open files")

    api.render = fail
    assert await api.error("/metrics") == (503, "log_busy")
    assert (await api.ask("/metrics"))[1]["Retry-After"] == "5"
    assert api.lines == []


async def test_error_nobody_foresaw_answers_500_and_is_logged(api: ApiBench) -> None:
    """The answer says nothing of the inside; the log has the traceback; the next request works."""

    def fail() -> str:
        raise RuntimeError("inside")

    api.render = fail
    assert await api.error("/metrics") == (500, "internal_error")
    event = json.loads(api.lines[-1])
    assert (event["event"], event["level"], event["path"]) == ("api.failed", "error", "/metrics")
    assert "RuntimeError: inside" in event["exception"]
    assert (await api.ask("/healthz"))[0] == 200


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /%s HTTP/1.1\r\na b\r\n\r\n"]
)
async def test_malformed_request_is_refused_and_not_logged(
    api: ApiBench, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Strangers must not be able to fill the log."""
    reader, writer = await asyncio.open_connection(*api.server.bound[0])
    writer.write(sent)
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 60)
    writer.close()
    await writer.wait_closed()
    assert api.lines == []
    assert caplog.records == []


async def test_start_says_port_taken_when_somebody_listens_there() -> None:
    """The message names the setting, the address and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = _server("127.0.0.1", port)
        with pytest.raises(PortTaken, match=rf"API_LISTEN=127\.0\.0\.1:{port}.*another address"):
            await server.start()
    assert server.bound == []


async def test_start_says_config_error_when_the_host_has_no_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing uses the port; it is the setting that is wrong."""

    async def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    with pytest.raises(ConfigError, match=r"API_LISTEN=nowhere\.test:0"):
        await _server("nowhere.test", 0).start()


async def test_stop_frees_the_port_and_can_be_repeated() -> None:
    """Also before a start."""
    server = _server("127.0.0.1", 0)
    await server.stop()
    server = _server("127.0.0.1", 0)
    await server.start()
    host, port = server.bound[0]
    await server.stop()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_every_interface_is_listened_on_when_the_host_is_empty() -> None:
    """IPv4 at least; IPv6 where the machine has it."""
    server = _server("", 0)
    await server.start()
    assert "0.0.0.0" in {host for host, _ in server.bound}
    await server.stop()


def _server(host: str, port: int) -> ApiServer:
    return ApiBench(host=host, port=port).server


async def test_lanes_come_in_pages_by_destination(api: ApiBench) -> None:
    """Each lane once; the number of all stands on every page."""
    for number in range(5):
        await api.admin.hold(f"host{number}.example")
    shown: list[str] = []
    path = "/v1/stats?lanes_limit=2"
    while path:
        page = await api.get(path)
        assert page["lanes_total"] == 5
        shown += [lane["destination"] for lane in page["lanes"]]
        following = page["lanes_next"]
        path = following and f"/v1/stats?lanes_limit=2&lanes_cursor={following}"
    assert shown == [f"http://host{number}.example" for number in range(5)]


async def test_lanes_with_most_messages_have_no_pages(api: ApiBench) -> None:
    """Their order changes from moment to moment; a cursor would mean nothing."""
    for number in range(3):
        await api.admin.hold(f"host{number}.example")
    page = await api.get("/v1/stats?lanes_order=messages&lanes_limit=2")
    assert (len(page["lanes"]), page["lanes_total"], page["lanes_next"]) == (2, 3, None)
    path = "/v1/stats?lanes_order=messages&lanes_cursor=host1.example"
    assert await api.error(path) == (400, "parameter_invalid")


@pytest.mark.parametrize("query", ["lanes_limit=0", "lanes_limit=1001", "lanes_order=size"])
async def test_pages_of_lanes_that_are_not_there_are_refused(api: ApiBench, query: str) -> None:
    """With the parameter that is wrong."""
    assert await api.error(f"/v1/stats?{query}") == (400, "parameter_invalid")


ROLES = Keyring(
    [
        Key("ops", Role.ADMIN, b"a"),
        Key("grafana", Role.READ, b"r"),
        Key("app", Role.DISPATCH, b"d"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "admin", "read", "dispatch"),
    [
        ("GET", "/metrics", 200, 200, 403),
        ("GET", "/v1/stats", 200, 200, 403),
        ("HEAD", "/v1/stats", 200, 200, 403),
        ("GET", "/v1/dead-letters", 200, 200, 403),
        ("GET", "/v1/other", 404, 404, 403),
        ("POST", "/v1/dead-letters/purge", 400, 403, 403),
        ("DELETE", "/v1/messages/0000018f3c5a7e2b9d4c6f8a1b2c", 404, 403, 403),
        ("POST", "/v1/destinations/b/pause", 200, 403, 403),
        ("GET", "/healthz", 200, 200, 200),
        ("GET", "/readyz", 200, 200, 200),
    ],
)
async def test_key_may_do_what_its_role_is_for(
    method: str, path: str, admin: int, read: int, dispatch: int
) -> None:
    """An application's key must not purge dead letters, a dashboard's must not pause."""
    async with ApiBench(ROLES) as api:
        for key, status in (("a", admin), ("r", read), ("d", dispatch)):
            headers = {"Authorization": f"Bearer {key}"}
            found, _, body = await api.ask(path, method=method, headers=headers)
            assert found == status, (key, body)
            if status == 403 and body:
                told = json.loads(body)
                assert told["error"] == "key_forbidden"
                assert {"r": "grafana", "d": "app"}[key] in told["message"]


async def test_key_is_in_force_when_it_replaced_another() -> None:
    """From the next request on; the old one is none any more."""
    keys = Keyring.of_secrets(b"old")
    async with ApiBench(keys) as api:
        assert (await api.ask("/metrics", headers={"Authorization": "Bearer old"}))[0] == 200
        keys.replace([Key("new", Role.ADMIN, b"new")])
        assert (await api.ask("/metrics", headers={"Authorization": "Bearer old"}))[0] == 401
        assert (await api.ask("/metrics", headers={"Authorization": "Bearer new"}))[0] == 200


def test_keys_are_replaced_but_never_introduced_or_dropped() -> None:
    """A slip in a file must not let everybody in, nor lock everybody out."""
    with pytest.raises(ValueError, match="replaced"):
        Keyring.of_secrets(b"k").replace(())
    with pytest.raises(ValueError, match="replaced"):
        Keyring().replace([Key("n", Role.ADMIN, b"k")])
    shown = repr(Keyring.of_secrets(b"secret")) + repr(Key("n", Role.READ, b"secret"))
    assert "secret" not in shown

"""What rules add to a request on its way out: headers with secrets, signatures, certificates."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from dispatcher.protocol.verifying import Verifier
from dispatcher.testing.destination import Request, answer
from tests.acceptance.functions import Client, Endpoint
from tests.acceptance.receiver import Receiver, Receivers
from tests.acceptance.ruled import Ruled
from tests.acceptance.running import dead, failed, forwarded, lines_of, quick
from tests.acceptance.served import NODES, ServerProcess
from tests.acceptance.wire import ORIGIN, ask, chunked, get, post, request

OF_ENVIRONMENT = "hush-of-the-environment"
OF_FILE = "hush-of-a-file"
LITERAL = "hush-as-it-stands"
OLD = "whsec_" + base64.b64encode(b"the old secret, long enough").decode()
NEW = "whsec_" + base64.b64encode(b"the new secret, long enough").decode()
TRUSTED = trustme.CA()


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruled]:
    """It has no rules at first, and trusts an authority of its own."""
    directory: Path = tmp_path_factory.mktemp("ruled")
    (directory / "rules.toml").write_bytes(b"")
    (directory / "token").write_text(f"{OF_FILE}\n")
    TRUSTED.cert_pem.write_to_path(str(directory / "system.pem"))
    settings = quick(
        DISPATCHER_CONFIG="rules.toml",
        SSL_CERT_FILE=str(directory / "system.pem"),
        TOKEN=OF_ENVIRONMENT,
        RETRYLIMIT="2",
        RETRY_MAX_DELAY="60000",
        LOG_LEVEL="debug",
    )
    with ServerProcess(directory, **settings) as server:
        yield Ruled(directory, server)
        assert server.stop() == 0
        assert [line for line in server.lines if line["level"] == "error"] == []
        assert server.stderr == ""


HEADERS = f'headers = {{Authorization = "env:TOKEN", X-File = "file:token", X-A = "{LITERAL}"}}'


def test_headers_take_the_place_of_the_callers(ruled: Ruled, receiver: Receiver) -> None:
    """Of that name, in any case, all of them; the others stay as they came."""
    ruled.rule(receiver.authority, HEADERS)
    data = post(receiver.authority, "AUTHORIZATION: theirs", "x-a: 1", "X-B: 2", "X-a: 3")
    assert lines_of(forwarded(ruled.server, receiver, data)) == [
        f"Host: {receiver.authority}".encode(),
        b"X-B: 2",
        b"Content-Length: 0",
        f"Authorization: {OF_ENVIRONMENT}".encode(),
        f"X-File: {OF_FILE}".encode(),
        f"X-A: {LITERAL}".encode(),
    ]


def test_other_destinations_get_nothing_of_it(
    ruled: Ruled, receiver: Receiver, receivers: Receivers
) -> None:
    """What they are sent is what the caller sent."""
    ruled.rule(
        receiver.authority, HEADERS, f'sign = {{kind = "standard-webhooks", secrets = ["{NEW}"]}}'
    )
    with receivers.open() as other:
        lines = lines_of(forwarded(ruled.server, other, post(other.authority, "x-a: 1")))
        assert lines == [f"Host: {other.authority}".encode(), b"x-a: 1", b"Content-Length: 0"]


def test_change_of_rules_holds_for_messages_that_wait(ruled: Ruled, receiver: Receiver) -> None:
    """What was accepted before is sent with what the rule says when its turn comes."""
    ruled.rule(receiver.authority, 'headers = {X-A = "before"}')
    place = f"/v1/destinations/http%3A%2F%2F{receiver.authority}"
    client = Client(ruled.server)
    assert client.ask("POST", f"{place}/hold").status == 200
    ask(ruled.server.listen, post(receiver.authority))
    ruled.rule(receiver.authority, 'headers = {X-A = "after"}')
    assert client.ask("POST", f"{place}/resume").status == 200
    (one,) = receiver.received()
    assert one.headers["x-a"] == "after"


def test_secrets_are_nowhere_but_in_the_request(ruled: Ruled, receiver: Receiver) -> None:
    """Not in the log, the API or the events, whether the message was delivered, waits or is dead;
    nor is what was made of them."""
    server = ruled.server
    sign = f'sign = {{kind = "standard-webhooks", secrets = ["{NEW}", "{OLD}"]}}'
    ruled.rule(receiver.authority, HEADERS, sign)
    forwarded(server, receiver, post(receiver.authority, body=b"{}"))
    receiver.script(answer(404, b"no"))
    given_up = ask(server.listen, post(receiver.authority)).id
    dead(server, given_up)
    receiver.script(answer(503, b"", ("Retry-After", "60")))
    waiting = ask(server.listen, post(receiver.authority)).id
    failed(server, waiting)
    sent = [one.headers for one in receiver.received(3)]
    assert all(one["authorization"] == OF_ENVIRONMENT for one in sent)
    signatures = [part for one in sent for part in one["webhook-signature"].split(" ")]
    assert len(signatures) == 6
    secret = [OF_ENVIRONMENT, OF_FILE, LITERAL, OLD, NEW, *signatures]
    paths = (
        f"/v1/messages/{waiting}",
        f"/v1/messages/{waiting}/explain",
        f"/v1/dead-letters/{given_up}",
        "/v1/dead-letters",
        "/v1/dead-letters/groups",
        "/v1/stats",
        "/metrics",
    )
    shown = {path: get(server.api, path).body for path in paths}
    assert waiting.encode() in shown[f"/v1/messages/{waiting}"]
    assert given_up.encode() in shown["/v1/dead-letters"]
    shown["events"] = json.dumps(server.lines).encode()
    kept = [path for path in ruled.directory.rglob("*") if path.is_file()]
    logs = [path for path in kept if path.name not in ("rules.toml", "token")]
    is_logged = any(receiver.authority.encode() in path.read_bytes() for path in logs)
    assert is_logged or NODES  # where logs are streams, they are not in these files
    shown |= {str(path): path.read_bytes() for path in logs}
    found = [
        (where, one) for where, data in shown.items() for one in secret if one.encode() in data
    ]
    assert found == []


def sign_with(*secrets: str) -> str:
    return f'sign = {{kind = "standard-webhooks", secrets = {json.dumps(secrets)}}}'


BODIES = {
    "empty": b"",
    "small": b'{"a": 1}',
    "held": json.dumps("x" * 200_000).encode(),
    "large": json.dumps("y" * 5_000_000).encode(),
}


@pytest.mark.parametrize("size", BODIES)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_signature_is_accepted_by_the_reference(
    ruled: Ruled, receiver: Receiver, size: str, is_chunked: bool
) -> None:
    """Of a body of any size, however it came; with either secret, the newest first."""
    ruled.rule(receiver.authority, sign_with(NEW, OLD))
    body = BODIES[size]
    data = post(receiver.authority, "Webhook-Signature: v1,theirs", body=body)
    if is_chunked:
        pieces = [body[place : place + 300_000] for place in range(0, len(body), 300_000)]
        data = request(
            "POST / HTTP/1.1",
            "Host: x",
            ORIGIN + receiver.authority,
            "Transfer-Encoding: chunked",
            body=chunked(*pieces),
        )
    one = forwarded(ruled.server, receiver, data)
    assert bytes(one.body) == body
    assert one.head.lower().count(b"\r\nwebhook-") == 3
    assert one.headers["webhook-id"] == one.headers["x-dispatcher-message-id"]
    check(one, NEW, OLD)


def check(one: Request, *secrets: str) -> None:
    """Verify it with each of the secrets, of which the first is the newest."""
    body = bytes(one.body).decode()
    signed_at = datetime.fromtimestamp(int(one.headers["webhook-timestamp"]), UTC)
    assert abs((datetime.now(UTC) - signed_at).total_seconds()) < 240
    expected = [
        Webhook(secret).sign(one.headers["webhook-id"], signed_at, body) for secret in secrets
    ]
    assert one.headers["webhook-signature"].split(" ") == expected
    for secret in secrets:
        if body:  # the reference reads it as JSON after it has verified it
            Webhook(secret).verify(body, one.headers)


def test_secret_is_changed_without_an_interruption(ruled: Ruled, receiver: Receiver) -> None:
    """Signed with the old one, with both, and with the new one; each in its time."""
    for secrets in ([OLD], [NEW, OLD], [NEW]):
        ruled.rule(receiver.authority, sign_with(*secrets))
        one = forwarded(ruled.server, receiver, post(receiver.authority, body=b"{}"))
        check(one, *secrets)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify("{}", one.headers)


def test_every_attempt_has_a_time_of_its_own(ruled: Ruled, receiver: Receiver) -> None:
    """A receiver refuses what was signed too long ago."""
    ruled.rule(receiver.authority, sign_with(NEW))
    receiver.script(answer(503, b"", ("Retry-After", "1")))
    ask(ruled.server.listen, post(receiver.authority, body=b"{}"))
    first, second = receiver.received(2)
    times = [int(one.headers["webhook-timestamp"]) for one in (first, second)]
    assert times[1] > times[0]
    check(first, NEW)
    check(second, NEW)


Private = Callable[[trustme.CA, trustme.CA | None], AbstractContextManager[Receiver]]


@pytest.fixture
def private(receivers: Receivers) -> Private:
    """Opens a destination with a certificate of one authority, which demands one of another."""

    def open_one(
        authority: trustme.CA, of_clients: trustme.CA | None
    ) -> AbstractContextManager[Receiver]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        if of_clients is not None:
            of_clients.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return receivers.open(tls=context)

    return open_one


def is_refused(ruled: Ruled, receiver: Receiver) -> str:
    """Send a message that is given up without the destination having read it; return the detail of
    the first attempt."""
    before = len(receiver.requests)
    number = ask(ruled.server.listen, post(f"https://{receiver.authority}")).id
    event = failed(ruled.server, number)
    assert event["error"] in ("tls_failed", "connection_failed")
    dead(ruled.server, number)  # else a retry may come through once other rules are in force
    assert len(receiver.requests) == before
    return str(event["detail"])


def test_authority_of_a_rule_takes_the_place_of_the_systems(ruled: Ruled, private: Private) -> None:
    """It is trusted for its destinations, and the system's are not; for others all is as ever."""
    own = trustme.CA()
    ruled.write("ca.pem", own.cert_pem.bytes())
    with private(own, None) as mine, private(TRUSTED, None) as systems:
        send = partial(forwarded, ruled.server)
        ruled.rule(mine.authority, 'ca = "ca.pem"')
        send(mine, post(f"https://{mine.authority}"))
        send(systems, post(f"https://{systems.authority}"))
        ruled.rule(systems.authority, 'ca = "ca.pem"')
        assert "certificate not accepted" in is_refused(ruled, mine)
        assert "certificate not accepted" in is_refused(ruled, systems)


def test_client_certificate_is_shown_and_changed_while_the_server_runs(
    ruled: Ruled, private: Private
) -> None:
    """A destination that demands one is delivered to with it alone. SIGHUP reads a new one; one
    that is wrong is named, and the old one stays."""
    old, new = trustme.CA(), trustme.CA()

    def put(authority: trustme.CA) -> None:
        client = authority.issue_cert("client.example")
        ruled.write("client.pem", b"".join(one.bytes() for one in client.cert_chain_pems))
        ruled.write("client.key", client.private_key_pem.bytes())

    with private(TRUSTED, old) as before, private(TRUSTED, new) as after:
        assert is_refused(ruled, before)
        put(old)
        ruled.rule("127.0.0.1", 'cert = "client.pem"', 'key = "client.key"')
        for _ in range(2):
            forwarded(ruled.server, before, post(f"https://{before.authority}"))
        assert before.fake.connections == 1
        assert is_refused(ruled, after)

        ruled.write("client.key", new.issue_cert("x.example").private_key_pem.bytes())
        assert "client.key" in ruled.reload("settings.kept")["reason"]
        before.run(before.fake.disconnect())
        forwarded(ruled.server, before, post(f"https://{before.authority}"))

        put(new)
        ruled.reload("settings.reloaded")
        forwarded(ruled.server, after, post(f"https://{after.authority}"))
        assert is_refused(ruled, before)


def test_headers_are_added_to_calls_beside_their_own_signature(
    ruled: Ruled, endpoint: Endpoint
) -> None:
    """Endpoints of functions are destinations too. What a call says itself stays, as its signature
    covers that; it is not signed a second time."""
    headers = 'headers = {X-A = "env:TOKEN", Content-Type = "text/plain"}'
    ruled.rule(f"127.0.0.1:{endpoint.port}", headers, sign_with(NEW))
    client = Client(ruled.server)
    (number,) = client.dispatch(endpoint.call("f"))
    assert client.output(number) == b"done"
    (run,) = endpoint.runs
    assert run.headers["x-a"] == OF_ENVIRONMENT
    assert run.head.lower().count(b"\r\ncontent-type:") == 1
    assert not any(name.startswith("webhook-") for name in run.headers)
    key = load_pem_private_key((ruled.directory / "signing.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    Verifier([key.public_key()]).verify(
        method="POST",
        target=run.lines[0].split(" ")[1],
        host=run.headers["host"],
        headers=run.headers.items(),
        body=run.body,
        now_s=time.time(),
    )

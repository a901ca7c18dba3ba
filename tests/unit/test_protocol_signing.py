"""Signatures of Run requests: the protocol's test vector, and what an application accepts."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.signing import RUN_PATH, Signed, Signer, authority, content_digest
from dispatcher.protocol.verifying import Verifier

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BODY = bytes.fromhex("0a046563686f2202643032026430")
HOST = "svc.example.com:8000"
CREATED = 1_700_000_000
DIGEST = (
    b"sha-512=:BP6Hn3wXQu2zY3zIERyJncsNfn/7EDHNjFOe5kEDsbNLUZQndua8LOeQWicXOxQL"
    b"hji287fhmkDCU6QtERVWoA==:"
)
COVERED = '"@method" "@path" "@authority" "content-type" "content-digest"'
SIGNATURE = (
    b"Bd18V3GG37s+NvAgvhbVFESyZ12Q06itR+8UUOMjSRyOSxpt9FDdmbu5IUjXrzIpaNTR/0l3Ira8Zk10ZWVSAg=="
)


def signed() -> Signed:
    return Signer(KEY).target(HOST, RUN_PATH).sign(content_digest(BODY), CREATED)


def test_signature_is_that_of_the_protocols_test_vector() -> None:
    """Byte for byte, all three headers."""
    headers = signed()
    assert headers.content_digest == DIGEST
    assert (
        headers.signature_input
        == f'dispatch=({COVERED});created=1700000000;keyid="default";alg="ed25519"'.encode()
    )
    assert headers.signature == b"dispatch=:" + SIGNATURE + b":"


def test_head_is_the_three_headers_as_lines() -> None:
    """As they are put into a request."""
    headers = signed()
    assert headers.head == b"".join(
        (
            b"Content-Digest: " + headers.content_digest + b"\r\n",
            b"Signature-Input: " + headers.signature_input + b"\r\n",
            b"Signature: " + headers.signature + b"\r\n",
        )
    )


def test_each_attempt_has_a_signature_of_its_own_time() -> None:
    """An old one would be refused after five minutes."""
    target = Signer(KEY).target(HOST, RUN_PATH)
    first, second = (target.sign(DIGEST, CREATED + n) for n in (0, 1))
    assert b"created=1700000001" in second.signature_input
    assert first.signature != second.signature


@pytest.mark.parametrize(
    ("scheme", "given", "signed_as"),
    [
        ("http", "Svc.Example.com:8000", "svc.example.com:8000"),
        ("http", "a:80", "a"),
        ("https", "a:443", "a"),
        ("http", "a:443", "a:443"),
        ("https", "a:80", "a:80"),
        ("http", "a:8080", "a:8080"),
        ("https", "[::1]:443", "[::1]"),
        ("http", "a", "a"),
    ],
)
def test_authority_is_lower_case_without_the_schemes_own_port(
    scheme: str, given: str, signed_as: str
) -> None:
    """Old and new verifiers agree on that form only."""
    assert authority(scheme, given) == signed_as


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("a", "x"),
        ("a", ""),
        ("a", "/x?y"),
        ("a", '/x\n"@method": GET'),
        ("a", "/ä"),
        ("A", "/x"),
        ("", "/x"),
        ("a b", "/x"),
    ],
)
def test_address_that_cannot_stand_in_a_signature_is_refused(host: str, path: str) -> None:
    """A line break in a path would sign another request."""
    with pytest.raises(ValueError, match="expected a"):
        Signer(KEY).target(host, path)


@dataclass(frozen=True)
class Request:
    """A signed request, and when it is looked at. `params` follow the list of components."""

    components: str = COVERED
    params: str = f';created={CREATED};keyid="default";alg="ed25519"'
    label: str = "dispatch"
    method: str = "POST"
    target: str = RUN_PATH
    host: str = HOST
    content_type: str = "application/proto"
    digest: str = DIGEST.decode()
    signed_host: str = HOST
    signed_query: str = ""
    key: Ed25519PrivateKey = KEY
    extra: tuple[tuple[str, str], ...] = ()
    body: bytes = BODY
    age_s: float = 0

    def headers(self) -> list[tuple[str, str]]:
        """Sign it by hand, independently of the signer."""
        values = {
            "@method": "POST",
            "@path": RUN_PATH,
            "@authority": self.signed_host,
            "@query": self.signed_query,
            "content-type": self.content_type,
            "content-digest": self.digest,
            "x-more": "more, yet more",
        }
        names = [part.strip('"') for part in self.components.split()]
        lines = [f'"{name}": {values[name]}' for name in names]
        params = f"({self.components}){self.params}"
        base = "\n".join([*lines, f'"@signature-params": {params}'])
        signature = base64.b64encode(self.key.sign(base.encode())).decode()
        return [
            ("Content-Type", self.content_type),
            ("Content-Digest", self.digest),
            ("Signature-Input", f"{self.label}={params}"),
            ("Signature", f"{self.label}=:{signature}:"),
            *self.extra,
        ]

    def verify(self, headers: list[tuple[str, str]] | None = None) -> None:
        Verifier([Ed25519PrivateKey.generate().public_key(), KEY.public_key()]).verify(
            method=self.method,
            target=self.target,
            host=self.host,
            headers=self.headers() if headers is None else headers,
            body=self.body,
            now_s=CREATED + self.age_s,
        )


SHA256 = f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(Request(), id="correct"),
        pytest.param(Request(label="sig1"), id="other label"),
        pytest.param(Request(params=f';created={CREATED};keyid="default"'), id="no alg"),
        pytest.param(
            Request(
                components=COVERED + ' "x-more"', extra=(("X-More", "more"), ("X-More", "yet more"))
            ),
            id="extra component, in two lines",
        ),
        pytest.param(Request(components=" ".join(reversed(COVERED.split()))), id="another order"),
        pytest.param(
            Request(
                components=COVERED + ' "@query"', target=RUN_PATH + "?a=b", signed_query="?a=b"
            ),
            id="query covered",
        ),
        pytest.param(Request(digest=SHA256), id="sha-256"),
        pytest.param(Request(digest=f"{SHA256}, {DIGEST.decode()}"), id="both digests"),
        pytest.param(Request(params=Request.params + ';nonce="n"'), id="nonce"),
        pytest.param(Request(params=Request.params + ';tag="t"'), id="tag"),
        pytest.param(Request(params=f"{Request.params};expires={CREATED}"), id="not yet expired"),
        pytest.param(Request(content_type="text/plain"), id="other content type"),
        pytest.param(Request(age_s=305), id="five minutes old"),
        pytest.param(Request(age_s=-5), id="five seconds ahead"),
        pytest.param(Request(host=HOST.upper()), id="host in capitals"),
        pytest.param(Request(signed_host="svc", host="svc:80"), id="default port of http"),
        pytest.param(Request(signed_host="svc", host="svc:443"), id="default port of https"),
        pytest.param(Request(signed_host="svc:443", host="svc:443"), id="port signed"),
    ],
)
def test_request_is_accepted(request_: Request) -> None:
    """What other servers and libraries may do differently."""
    request_.verify()
    lower = [(name.lower(), value) for name, value in request_.headers()]
    request_.verify(lower)


DENIED, UNCHECKABLE = Code.PERMISSION_DENIED, Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("request_", "code", "why"),
    [
        (Request(age_s=305.5), DENIED, "older than 300"),
        (Request(age_s=-5.5), DENIED, "from the future"),
        (Request(params=f"{Request.params};expires={CREATED - 1}"), DENIED, "expired"),
        (Request(params=';keyid="default"'), DENIED, "when it was created"),
        (Request(key=Ed25519PrivateKey.from_private_bytes(bytes(32))), DENIED, "does not fit"),
        (Request(host="other.example.com"), DENIED, "does not fit"),
        (Request(target="/other"), DENIED, "does not fit"),
        (Request(method="PUT"), DENIED, "does not fit"),
        (Request(body=BODY + b"\0"), DENIED, "not the one that was signed"),
        (Request(digest=SHA256, body=b""), DENIED, "not the one that was signed"),
        (
            Request(digest=f"{DIGEST.decode()}, sha-256=:AAAA:"),
            DENIED,
            "not the one that was signed",
        ),
        (
            Request(params=f';created={CREATED};keyid="default";alg="rsa-v1_5-sha256"'),
            DENIED,
            "alg",
        ),
        (Request(params=f';created={CREATED};keyid="k2"'), UNCHECKABLE, "keyid"),
        (Request(params=f";created={CREATED}"), UNCHECKABLE, "keyid"),
        (Request(params=';created="1";keyid="default"'), UNCHECKABLE, "whole number"),
        (Request(params=';created;keyid="default"'), UNCHECKABLE, "whole number"),
        (Request(components='"@method" "@path"'), UNCHECKABLE, "does not cover @authority"),
        (Request(components=COVERED + ' "x-more"'), UNCHECKABLE, "not in the request"),
        (Request(components=COVERED + ' "@method"'), UNCHECKABLE, "stands twice"),
        (Request(digest="md5=:AAAA:"), UNCHECKABLE, "expected sha-512"),
        (Request(digest="sha-512=AAAA"), UNCHECKABLE, "expected the bytes"),
        (Request(digest=":"), UNCHECKABLE, "Content-Digest: expected a key"),
    ],
)
def test_request_is_refused(request_: Request, code: Code, why: str) -> None:
    """The rows of the protocol's table, and malformed ones; the message says which."""
    with pytest.raises(ConnectError, match=why) as raised:
        request_.verify()
    assert raised.value.code is code


def changed(**fields: str | None) -> list[tuple[str, str]]:
    """Headers of a good request, some replaced (`Signature_Input` stands for the dashed name) or
    left out."""
    new = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = {**dict(Request().headers()), **new}
    return [(name, value) for name, value in headers.items() if value is not None]


GOOD = dict(Request().headers())


@pytest.mark.parametrize(
    ("headers", "code", "why"),
    [
        (changed(Signature=None), DENIED, "not signed"),
        (changed(Signature_Input=None), DENIED, "not signed"),
        (changed(Signature_Input=None, Signature=None), DENIED, "not signed"),
        (
            [*Request().headers(), *replace(Request(), label="second").headers()[2:]],
            DENIED,
            "several signatures",
        ),
        (changed(Signature=GOOD["Signature"] + ", b=:AAAA:"), DENIED, "several signatures"),
        (changed(Content_Digest=None), UNCHECKABLE, "expected sha-512"),
        (changed(Content_Type=None), UNCHECKABLE, "content-type, which is not in the request"),
        (changed(Signature="dispatch=:AAAA:"), DENIED, "does not fit"),
        (changed(Signature="dispatch=AAAA"), UNCHECKABLE, "expected the bytes"),
        (changed(Signature="other=:AAAA:"), UNCHECKABLE, "expected the bytes"),
        (changed(Signature="dispatch=:A:"), UNCHECKABLE, "Signature: expected base64"),
        (changed(Signature_Input="dispatch=1"), UNCHECKABLE, "list of components"),
        (changed(Signature_Input="dispatch=("), UNCHECKABLE, "Signature-Input: expected a value"),
        (
            changed(Signature_Input=GOOD["Signature-Input"].replace('path"', 'path";req')),
            UNCHECKABLE,
            "components with parameters",
        ),
        (
            changed(Signature_Input=GOOD["Signature-Input"].replace('"@path"', "1")),
            UNCHECKABLE,
            "components with parameters",
        ),
    ],
)
def test_headers_that_are_no_signature_are_refused(
    headers: list[tuple[str, str]], code: Code, why: str
) -> None:
    """Not with an exception of another kind, which would be a 500."""
    with pytest.raises(ConnectError, match=why) as raised:
        Request().verify(headers)
    assert raised.value.code is code

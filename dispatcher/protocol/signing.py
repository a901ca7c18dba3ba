"""Signatures of Run requests, by which an application knows that they are its server's: HTTP
Message Signatures (RFC 9421) with Ed25519, over the method, the address and a digest of the body
(RFC 9530).

    Content-Digest: sha-512=:…:
    Signature-Input: dispatch=("@method" "@path" "@authority" "content-type" "content-digest");
                     created=1700000000;keyid="default";alg="ed25519"
    Signature: dispatch=:…:

What applications insist on: exactly one signature, the key id `default`, and an age of at most five
minutes, so every attempt is signed anew.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RUN_PATH: Final = "/dispatch.sdk.v1.FunctionService/Run"
"""What stands behind the endpoint's own path in the address of a Run."""

LABEL: Final = "dispatch"
KEY_ID: Final = "default"
ALGORITHM: Final = "ed25519"
COMPONENTS: Final = ("@method", "@path", "@authority", "content-type", "content-digest")

_PERMIT: Final = b"dispatcher permit\n"
"""No signature of a request is over bytes that begin so."""
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_LIST: Final = " ".join(f'"{name}"' for name in COMPONENTS)
_BEFORE_TIME: Final = f"({_LIST});created=".encode()
_AFTER_TIME: Final = f';keyid="{KEY_ID}";alg="{ALGORITHM}"'.encode()
_LABEL: Final = LABEL.encode()


class Signed(NamedTuple):
    """The values of the three headers."""

    content_digest: bytes
    signature_input: bytes
    signature: bytes

    @property
    def head(self) -> bytes:
        """The headers as lines, each with its CRLF."""
        return b"Content-Digest: %b\r\nSignature-Input: %b\r\nSignature: %b\r\n" % self


def authority(scheme: str, host_and_port: str) -> str:
    """Return the authority of an endpoint as it is signed and has to stand in `Host`: lower case,
    and without the port that the scheme has anyway."""
    return host_and_port.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def content_digest(body: bytes) -> bytes:
    """Return the Content-Digest of a body. It is the same for all attempts that send this body.
    About 3 ms for each MB, without the interpreter's lock: one of many MB belongs in a thread."""
    return b"sha-512=:%b:" % b64encode(hashlib.sha512(body).digest())


class Signer:
    """Signs with one private key."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "<Signer>"

    def permit(self, call_id: str) -> bytes:
        """Return what shows that somebody was given a run of this call: 64 bytes, always the same
        with the same key."""
        return self._key.sign(b"%b%b" % (_PERMIT, call_id.encode()))

    def target(
        self, host: str, path: str, *, content_type: str = "application/proto"
    ) -> SignedTarget:
        """Return what signs requests to one address; keep it as long as the endpoint is in use.

        `host` is what `Host` will say: make it with `authority`. `path` is the request's, with
        RUN_PATH at its end, and without a query.

        Raises:
            ValueError: one of them would break the signature's lines, or is not as said here.
        """
        if not path.startswith("/") or not _is_plain(path) or "?" in path:
            raise ValueError(f"expected a path without a query, got {path!r}")
        if not host or host != host.lower() or not _is_plain(host):
            raise ValueError(f"expected a host in lower case, got {host!r}")
        return SignedTarget(self._key, host, path, content_type)


class SignedTarget:
    """Signs POST requests to one address."""

    __slots__ = ("_before_digest", "_key")

    def __init__(self, key: Ed25519PrivateKey, host: str, path: str, content_type: str) -> None:
        self._key = key
        self._before_digest = (
            f'"@method": POST\n"@path": {path}\n"@authority": {host}\n'
            f'"content-type": {content_type}\n"content-digest": '
        ).encode()

    def __repr__(self) -> str:
        return f"<SignedTarget {self._before_digest!r}>"

    def sign(self, digest: bytes, created_s: int) -> Signed:
        """Sign one attempt. `digest` is the `content_digest` of its body, `created_s` now, in
        seconds since the epoch."""
        params = b"%b%d%b" % (_BEFORE_TIME, created_s, _AFTER_TIME)
        base = b'%b%b\n"@signature-params": %b' % (self._before_digest, digest, params)
        signature = b64encode(self._key.sign(base))
        return Signed(digest, b"%b=%b" % (_LABEL, params), b"%b=:%b:" % (_LABEL, signature))


def _is_plain(text: str) -> bool:
    """Visible ASCII, as URLs are written."""
    return all("!" <= character <= "~" for character in text)

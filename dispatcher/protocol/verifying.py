"""Checks that a Run request is signed by the server: the other half of `signing`, for applications.

What is accepted besides the server's own form: another label, no `alg`, further components and
parameters, another order, sha-256, and any number of public keys, one of which has to fit.

    permission_denied   no signature, or several; made by another key, for another address or body;
                        too old, expired, or from the future
    unauthenticated     a signature that can't be checked: malformed, with another key id, or with
                        too few components
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.signing import ALGORITHM, COMPONENTS, KEY_ID
from dispatcher.protocol.structured import (
    Bare,
    InnerList,
    Item,
    StructuredInvalid,
    inner_list_text,
    parse_dictionary,
)

MAX_AGE_S: Final = 300
SKEW_S: Final = 5
"""How far two clocks may be apart."""

_DIGESTS: Final = {"sha-512": hashlib.sha512, "sha-256": hashlib.sha256}


class Verifier:
    """Checks requests against public keys: several, while the server changes its own."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = tuple(keys)

    def __repr__(self) -> str:
        return f"<Verifier with {len(self._keys)} keys>"

    def verify(
        self,
        *,
        method: str,
        target: str,
        host: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        now_s: float,
    ) -> None:
        """Check one request.

        `target` is path and query as they stand in the request line, `host` the header of that
        name. Names of headers may be in any case, and stand several times. `now_s` is seconds since
        the epoch.

        Raises:
            ConnectError: it is not to be answered with anything but this.
        """
        fields = _joined(headers)
        covered, signature = _only_signature(fields)
        _check_params(covered.params, now_s)
        names = _names(covered)
        _check_digest(fields.get("content-digest", ""), body)
        path, question, query = target.partition("?")
        derived = {
            "@method": method,
            "@path": path or "/",
            "@query": f"?{query}",
            "@request-target": f"{path}{question}{query}",
        }
        for authority in _authorities(host):
            values = {**fields, **derived, "@authority": authority}
            if self._fits(signature, _base(covered, names, values)):
                return
        raise _denied(
            "the signature does not fit: it was made with another key, or for another address or "
            "request. DISPATCH_VERIFICATION_KEY is what `dispatcher keys show` prints on the server"
        )

    def _fits(self, signature: bytes, base: bytes) -> bool:
        for key in self._keys:
            try:
                key.verify(signature, base)
            except InvalidSignature:
                continue
            return True
        return False


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lines of one name are one field (RFC 9421, 2.1)."""
    fields: dict[str, str] = {}
    for name, value in headers:
        name, value = name.lower(), value.strip()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _only_signature(fields: Mapping[str, str]) -> tuple[InnerList, bytes]:
    """What the request's signature covers, and its bytes."""
    inputs = _parsed(fields, "signature-input")
    signatures = _parsed(fields, "signature")
    if not inputs or not signatures:
        raise _denied("the request is not signed")
    if len(inputs) > 1 or len(signatures) > 1:
        raise _denied("the request has several signatures, and one is expected")
    ((label, covered),) = inputs.items()
    signature = signatures.get(label)
    if not isinstance(covered, InnerList):
        raise _malformed("Signature-Input: expected a list of components")
    if not isinstance(signature, Item) or not isinstance(signature.value, bytes):
        raise _malformed(f"Signature: expected the bytes of {label!r}")
    return covered, signature.value


def _parsed(fields: Mapping[str, str], name: str) -> dict[str, Item | InnerList]:
    try:
        return parse_dictionary(fields.get(name, ""))
    except StructuredInvalid as error:
        raise _malformed(f"{name.title()}: {error}") from error


def _check_params(params: Mapping[str, Bare], now_s: float) -> None:
    if params.get("keyid") != KEY_ID:
        raise _malformed(f"the signature's keyid is not {KEY_ID!r}")
    if params.get("alg", ALGORITHM) != ALGORITHM:
        raise _denied(f"the signature's alg is not {ALGORITHM!r}")
    created = _seconds(params, "created")
    expires = _seconds(params, "expires")
    if created is None:
        raise _denied("the signature does not say when it was created")
    if created > now_s + SKEW_S:
        raise _denied("the signature is from the future: compare the clocks of the two machines")
    if created < now_s - MAX_AGE_S - SKEW_S:
        raise _denied(f"the signature is older than {MAX_AGE_S} seconds")
    if expires is not None and expires < now_s:
        raise _denied("the signature has expired")


def _seconds(params: Mapping[str, Bare], name: str) -> int | None:
    value = params.get(name)
    if value is not None and type(value) is not int:
        raise _malformed(f"the signature's {name} is not a whole number of seconds")
    return value


def _names(covered: InnerList) -> list[str]:
    """The names of the components."""
    names = [item.value for item in covered.items if isinstance(item.value, str)]
    if len(names) < len(covered.items) or any(item.params for item in covered.items):
        raise _malformed("Signature-Input: components with parameters are not known here")
    if len(set(names)) < len(names):
        raise _malformed("Signature-Input: a component stands twice")
    missing = [name for name in COMPONENTS if name not in names]
    if missing:
        raise _malformed(f"the signature does not cover {', '.join(missing)}")
    return names


def _check_digest(field: str, body: bytes) -> None:
    """All digests of a kind that is known here have to fit, and there has to be one."""
    try:
        digests = parse_dictionary(field)
    except StructuredInvalid as error:
        raise _malformed(f"Content-Digest: {error}") from error
    known = [(name, item) for name, item in digests.items() if name in _DIGESTS]
    if not known:
        raise _malformed("Content-Digest: expected sha-512 or sha-256")
    for name, item in known:
        if not isinstance(item, Item) or not isinstance(item.value, bytes):
            raise _malformed(f"Content-Digest: expected the bytes of {name}")
        if not hmac.compare_digest(item.value, _DIGESTS[name](body).digest()):
            raise _denied("the body is not the one that was signed: Content-Digest does not fit")


def _authorities(host: str) -> list[str]:
    """What `@authority` may be. The server leaves out the port that the scheme has anyway; which
    scheme that was is not known behind a proxy."""
    host = host.strip().lower()
    name, colon, port = host.rpartition(":")
    return [host, name] if colon and port in ("80", "443") else [host]


def _base(covered: InnerList, names: Iterable[str], values: Mapping[str, str]) -> bytes:
    """The text that is signed (RFC 9421, 2.5)."""
    lines = []
    for name in names:
        value = values.get(name)
        if value is None:
            raise _malformed(f"the signature covers {name}, which is not in the request")
        lines.append(f'"{name}": {value}\n')
    lines.append(f'"@signature-params": {inner_list_text(covered)}')
    return "".join(lines).encode("utf-8", "surrogateescape")


def _denied(message: str) -> ConnectError:
    return ConnectError(Code.PERMISSION_DENIED, message)


def _malformed(message: str) -> ConnectError:
    return ConnectError(Code.UNAUTHENTICATED, message)

"""Signatures of messages as Standard Webhooks has them: sender and receiver share a secret, and an
HMAC-SHA256 with it is over the message's id, the time and the body.

    webhook-id: 01JC…
    webhook-timestamp: 1700000000
    webhook-signature: v1,<base64 of the HMAC of "id.timestamp.body"> v1,…

One signature for each secret of the sender, newest first; one that fits a secret of the receiver is
enough, so that a secret can be changed while messages are under way. It needs the standard library
only. The rules: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dispatcher.errors import DispatcherError

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"

TOLERANCE_S: Final = 300
"""How far a message's time and the receiver's clock may be apart, as the rules advise."""

_PREFIX: Final = "whsec_"
_ASYMMETRIC: Final = ("whsk_", "whpk_")
_VERSION: Final = b"v1,"
_MESSAGE_ID: Final = re.compile(r"[!-~]{1,255}")
_SECONDS: Final = re.compile(r"[0-9]{1,12}")
"""Enough for 30 000 years, and few enough for arithmetic."""


class SignatureRefused(DispatcherError):
    """A message is not signed as it should be: base of the four reasons."""

    slug = "signature_refused"


class SignatureMissing(SignatureRefused):
    """The message is not signed, or not wholly."""

    slug = "signature_missing"


class SignatureMalformed(SignatureRefused):
    """A header can't be read."""

    slug = "signature_malformed"


class SignatureExpired(SignatureRefused):
    """The message's time is too far from the receiver's clock."""

    slug = "signature_expired"


class SignatureWrong(SignatureRefused):
    """It was made with another secret, or for another id, time or body."""

    slug = "signature_wrong"


@dataclass(frozen=True, slots=True)
class Secret:
    """What sender and receiver share. It is never shown."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("a secret must not be empty")

    @classmethod
    def read(cls, written: str | bytes) -> Secret:
        """Read a secret as it is written down: base64, after `whsec_` or not, as the libraries of
        Standard Webhooks read it; or the bytes themselves.

        Raises:
            ValueError: it is empty, or not base64, or of another kind. The message does not show
                it.
        """
        if isinstance(written, bytes):
            return cls(written)
        if written.startswith(_ASYMMETRIC):
            raise ValueError("expected a shared secret (whsec_…), got a key of a pair")
        encoded = written.removeprefix(_PREFIX).rstrip("=")
        try:
            return cls(b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"expected a secret in base64, after {_PREFIX} or not") from error


class Signed(NamedTuple):
    """The values of the three headers."""

    message_id: str
    timestamp: str
    signature: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers by name."""
        return {ID: self.message_id, TIMESTAMP: self.timestamp, SIGNATURE: self.signature}

    @property
    def head(self) -> bytes:
        """The headers as lines, each with its CRLF."""
        lines = (f"{name}: {value}\r\n" for name, value in self.headers.items())
        return "".join(lines).encode("ascii")


class Signing:
    """A signature in the making, for bodies that come in pieces: `add` each, in order, and then ask
    for what is `signed`."""

    __slots__ = ("_macs", "_message_id", "_timestamp")

    def __init__(self, secrets: Iterable[Secret], message_id: str, timestamp_s: int) -> None:
        """Begin. `secrets` are in force now, newest first, at least one; `timestamp_s` is now, in
        seconds since the epoch.

        Raises:
            ValueError: there is no secret, or the id is not 1 to 255 visible ASCII characters.
        """
        if not _MESSAGE_ID.fullmatch(message_id):
            raise ValueError(f"expected an id of visible ASCII characters, got {message_id!r}")
        self._message_id = message_id
        self._timestamp = str(timestamp_s)
        start = f"{message_id}.{timestamp_s}.".encode("ascii")
        self._macs = [hmac.new(secret.key, start, hashlib.sha256) for secret in secrets]
        if not self._macs:
            raise ValueError("expected at least one secret")

    def __repr__(self) -> str:
        return f"<Signing {self._message_id} at {self._timestamp}>"

    def add(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the body. About 1 ms for each MB and secret, without the
        interpreter's lock."""
        for mac in self._macs:
            mac.update(piece)

    @property
    def signed(self) -> Signed:
        """The headers, for the body so far."""
        made = (_VERSION + b64encode(mac.digest()) for mac in self._macs)
        return Signed(self._message_id, self._timestamp, b" ".join(made).decode("ascii"))


def sign(secrets: Iterable[Secret], message_id: str, timestamp_s: int, body: bytes) -> Signed:
    """Sign a message whose body is at hand. Arguments and errors are those of `Signing`."""
    signing = Signing(secrets, message_id, timestamp_s)
    signing.add(body)
    return signing.signed


def verify(
    secrets: Iterable[Secret],
    headers: Iterable[tuple[str, str]],
    body: bytes,
    *,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> str:
    """Check that a message was sent by who has one of the secrets, and return its id.

    Names of headers may be in any case. `now_s` is seconds since the epoch, `tolerance_s` how far
    the message's time may be from it, in both directions. Signatures of other versions than v1 are
    passed over.

    Raises:
        SignatureRefused: one of its four kinds; the message says why.
    """
    message_id, timestamp, signature = _fields(headers)
    if not _MESSAGE_ID.fullmatch(message_id):
        raise SignatureMalformed(f"{ID}: expected 1 to 255 visible ASCII characters")
    if not _SECONDS.fullmatch(timestamp):
        raise SignatureMalformed(f"{TIMESTAMP}: expected whole seconds since 1970")
    # Some servers decode bytes that are no text to lone surrogates, which have no UTF-8.
    values = signature.encode("utf-8", "replace").split()
    shown = [value for value in values if value.startswith(_VERSION)]
    if not shown:
        raise SignatureMalformed(f"{SIGNATURE}: expected v1, and base64, separated by spaces")
    _check_time(int(timestamp) - now_s, tolerance_s)
    start = f"{message_id}.{timestamp}.".encode("ascii")
    if not _fits(secrets, shown, start, body):
        raise SignatureWrong(
            "No signature fits: it was made with another secret, or the body was changed on its "
            "way. Compare the secrets of sender and receiver."
        )
    return message_id


def _fields(headers: Iterable[tuple[str, str]]) -> tuple[str, str, str]:
    """The values of the three headers."""
    found = dict.fromkeys((ID, TIMESTAMP, SIGNATURE), "")
    for name, value in headers:
        name, value = name.lower(), value.strip(" \t")
        if found.get(name):
            raise SignatureMalformed(f"{name} stands twice.")
        if name in found:
            found[name] = value
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise SignatureMissing(f"The request has no {', no '.join(missing)}: it is not signed.")
    return found[ID], found[TIMESTAMP], found[SIGNATURE]


def _check_time(ahead_s: float, tolerance_s: float) -> None:
    if ahead_s < -tolerance_s:
        raise SignatureExpired(
            f"The signature is {-ahead_s:.0f} s old, and {tolerance_s:g} s are the most: sign each "
            "attempt anew, and compare the clocks of the two machines."
        )
    if ahead_s > tolerance_s:
        raise SignatureExpired(
            f"The signature is from {ahead_s:.0f} s ahead: compare the clocks of the two machines."
        )


def _fits(secrets: Iterable[Secret], shown: Iterable[bytes], start: bytes, body: bytes) -> bool:
    """Compare as text, in a time that does not depend on how much of it is right."""
    fits = False
    for secret in secrets:
        mac = hmac.new(secret.key, start, hashlib.sha256)
        mac.update(body)
        expected = _VERSION + b64encode(mac.digest())
        for one in shown:
            fits |= hmac.compare_digest(expected, one)
    return fits

"""How a connection between two nodes begins: each side proves to the other that it knows the key
of the cluster, without saying it. Pure: bytes in, bytes out.

    the side that connects             the side that accepts
    OPENING    magic, version, purpose, nonce ─▶
               ◀─ CHALLENGE            magic, version, nonce
    PROOF      of the connecting side ─▶
               ◀─ VERDICT              whether that is right; the proof of the accepting side

A proof is the HMAC-SHA-256, with the key, of the side's own name and of all that was said before:
the version, what the connection is for, and a nonce of each side. So one that was heard is of no
use on another connection, for another purpose, or as the other side's. Who accepts proves nothing
before it has seen a proof, and says nothing at all to who does not begin like this.

Every message has a fixed size; nothing is kept beyond it, and nothing of what comes later is looked
at before the handshake is over. The side that connects waits for the verdict before it says more.

It proves who is there as a connection begins. Who can change bytes on their way changes what comes
later, and who can read them reads it: that is what TLS under it is for.
"""

from __future__ import annotations

import hmac
from enum import Enum, IntEnum
from struct import Struct
from typing import Final

from dispatcher.peers.errors import LinkError

VERSION: Final = 1
"""Both sides speak one. Who accepts answers a version that it does not know with its own, and who
connects may go on with that one."""
NONCE_BYTES: Final = 32
_MAGIC: Final = b"dispatcher"
_OPENING: Final = Struct(f"<{len(_MAGIC)}sBB{NONCE_BYTES}s")
_CHALLENGE: Final = Struct(f"<{len(_MAGIC)}sB{NONCE_BYTES}s")
_PROOF_BYTES: Final = 32
_VERDICT: Final = Struct(f"<B{_PROOF_BYTES}s")
_CONNECTS: Final = b"connects:"
_ACCEPTS: Final = b"accepts:"
_NO_PROOF: Final = bytes(_PROOF_BYTES)


class Purpose(IntEnum):
    """What a connection is for. A number is never used for anything else again."""

    LINK = 1
    """`link`: frames."""
    API = 2
    """`tunnel`: a connection of the API's."""


class _Said(IntEnum):
    """The first byte of a verdict."""

    WELCOME = 0
    WRONG_KEY = 1
    NOT_SERVED = 2


class Reason(Enum):
    """Why a handshake failed."""

    WRONG_KEY = "wrong_key"
    """The two sides have different keys."""
    WRONG_VERSION = "wrong_version"
    """The other side is of a version that this one does not speak with."""
    NOT_SERVED = "not_served"
    """The other side knows the key, and does not serve this purpose, or not now."""
    NOT_UNDERSTOOD = "not_understood"
    """What came is no handshake: another program, or TLS on one side only."""
    TLS = "tls"
    """TLS under it failed."""
    LATE = "late"
    """It was not over in time."""
    CLOSED = "closed"
    """The other side went away in the middle of it."""


TEXTS: Final = {
    Reason.WRONG_KEY: "the two nodes have different keys: set CLUSTER_KEY to the same on all nodes",
    Reason.WRONG_VERSION: "it speaks another version of the protocol: update all nodes",
    Reason.NOT_SERVED: "it does not take such connections now",
    Reason.NOT_UNDERSTOOD: (
        "what it sends is no handshake: it is another program, or one side only has TLS "
        "(CLUSTER_TLS_CERT)"
    ),
    Reason.TLS: "TLS failed: look at CLUSTER_TLS_CA and CLUSTER_TLS_CERT of both",
    Reason.LATE: "it did not say enough in time",
    Reason.CLOSED: "it went away before the handshake was over",
}


class HandshakeFailed(LinkError):
    """The other side is not what this one wants to speak with. `answer` is to be sent before the
    connection is closed."""

    slug = "handshake_failed"

    def __init__(self, reason: Reason, answer: bytes = b"") -> None:
        super().__init__(f"The handshake between two nodes failed: {TEXTS[reason]}.")
        self.reason = reason
        self.answer = answer


class Connecting:
    """The side that connects; `nonce` is random, of `NONCE_BYTES`, and never used twice."""

    __slots__ = ("_expects", "_key", "_rest", "_said", "is_over", "opening")

    def __init__(self, key: bytes, purpose: Purpose, nonce: bytes) -> None:
        self._key = key
        self.opening = _OPENING.pack(_MAGIC, VERSION, purpose, nonce)
        """What is to be sent first."""
        self._said = self.opening
        self._rest = b""
        self._expects = _CHALLENGE.size
        self.is_over = False

    @property
    def rest(self) -> bytes:
        """What came behind the handshake, once it is over."""
        return self._rest

    def receive(self, data: bytes) -> bytes:
        """Take what came; return what is to be sent.

        Raises:
            HandshakeFailed: it is over, and no connection.
        """
        assert not self.is_over
        self._rest += data
        if self._expects == _CHALLENGE.size:
            _check_magic(self._rest)
        if len(self._rest) < self._expects:
            return b""
        message, self._rest = self._rest[: self._expects], self._rest[self._expects :]
        if self._expects == _CHALLENGE.size:
            return self._prove(message)
        self._judge(message)
        return b""

    def _prove(self, challenge: bytes) -> bytes:
        _, version, _ = _CHALLENGE.unpack(challenge)
        if version != VERSION:
            raise HandshakeFailed(Reason.WRONG_VERSION)
        if self._rest:
            raise HandshakeFailed(Reason.NOT_UNDERSTOOD)
        self._said += challenge
        self._expects = _VERDICT.size
        proof = _proof(self._key, _CONNECTS, self._said)
        self._said += proof
        return proof

    def _judge(self, verdict: bytes) -> None:
        said, proof = _VERDICT.unpack(verdict)
        if said == _Said.WRONG_KEY:
            raise HandshakeFailed(Reason.WRONG_KEY)
        # Also where the other side serves nothing: it may be anybody until it has proved itself.
        own = _proof(self._key, _ACCEPTS + verdict[:1], self._said)
        if not hmac.compare_digest(proof, own):
            raise HandshakeFailed(Reason.WRONG_KEY)
        if said != _Said.WELCOME:
            raise HandshakeFailed(Reason.NOT_SERVED)
        self.is_over = True


class Accepting:
    """The side that accepts; `nonce` as for `Connecting`. `purpose` is known once it is over."""

    __slots__ = ("_expects", "_key", "_nonce", "_purpose", "_rest", "_said", "is_over")

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._key = key
        self._nonce = nonce
        self._rest = b""
        self._said = b""
        self._expects = _OPENING.size
        self._purpose = 0
        self.is_over = False

    def receive(self, data: bytes, serves: frozenset[Purpose]) -> bytes:
        """Take what came; return what is to be sent. `serves` is what connections may be for now.

        Raises:
            HandshakeFailed: it is over, and no connection.
        """
        assert not self.is_over
        if len(self._rest) + len(data) > self._expects:  # nobody has a reason to say more
            raise HandshakeFailed(Reason.NOT_UNDERSTOOD)
        self._rest += data
        if not self._said:
            _check_magic(self._rest)
        if len(self._rest) < self._expects:
            return b""
        message, self._rest = self._rest, b""
        return self._judge(message, serves) if self._said else self._challenge(message)

    @property
    def purpose(self) -> Purpose:
        """What the connection is for."""
        assert self.is_over
        return Purpose(self._purpose)

    def _challenge(self, opening: bytes) -> bytes:
        _, version, self._purpose, _ = _OPENING.unpack(opening)
        challenge = _CHALLENGE.pack(_MAGIC, VERSION, self._nonce)
        if version != VERSION:
            raise HandshakeFailed(Reason.WRONG_VERSION, challenge)
        self._said = opening + challenge
        self._expects = _PROOF_BYTES
        return challenge

    def _judge(self, proof: bytes, serves: frozenset[Purpose]) -> bytes:
        if not hmac.compare_digest(proof, _proof(self._key, _CONNECTS, self._said)):
            answer = _VERDICT.pack(_Said.WRONG_KEY, _NO_PROOF)
            raise HandshakeFailed(Reason.WRONG_KEY, answer)
        said = _Said.WELCOME if self._purpose in serves else _Said.NOT_SERVED
        own = _proof(self._key, _ACCEPTS + bytes((said,)), self._said + proof)
        verdict = _VERDICT.pack(said, own)
        if said is not _Said.WELCOME:
            raise HandshakeFailed(Reason.NOT_SERVED, verdict)
        self.is_over = True
        return verdict


def _check_magic(begin: bytes) -> None:
    """Refuse at the first byte that is another one."""
    if begin[: len(_MAGIC)] != _MAGIC[: len(begin)]:
        raise HandshakeFailed(Reason.NOT_UNDERSTOOD)


def _proof(key: bytes, side: bytes, said: bytes) -> bytes:
    return hmac.digest(key, side + said, "sha256")

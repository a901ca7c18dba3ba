"""The keys that sign runs, and what applications verify with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatcher.protocol.keys import public_key_base64, public_key_pem


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What applications verify with. `id` names it, `raw` has 32 bytes."""

    id: str
    raw: bytes

    @classmethod
    def of(cls, key: Ed25519PrivateKey) -> PublicKey:
        """Of a private key. Its id is the beginning of the SHA-256 of its bytes."""
        raw = key.public_key().public_bytes_raw()
        return cls(hashlib.sha256(raw).hexdigest()[:16], raw)

    @property
    def base64(self) -> str:
        """One line: what DISPATCH_VERIFICATION_KEY takes."""
        return public_key_base64(Ed25519PublicKey.from_public_bytes(self.raw))

    @property
    def pem(self) -> str:
        """The other form that it takes, which ends with a line end."""
        return public_key_pem(Ed25519PublicKey.from_public_bytes(self.raw))


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys of a file, in its order: the first signs, the second will."""

    private: tuple[Ed25519PrivateKey, ...]

    def __repr__(self) -> str:
        return f"<SigningKeys {', '.join(key.id for key in self.public)}>"

    @property
    def signing(self) -> Ed25519PrivateKey:
        """The key that signs."""
        return self.private[0]

    @property
    def public(self) -> tuple[PublicKey, ...]:
        """What applications verify with, in the same order."""
        return tuple(map(PublicKey.of, self.private))

"""Ed25519 keys: the server signs Run requests with the private one, applications know the public
one and check that a request is the server's.

    SIGNING_KEY                 a PEM file with one or more private keys
    DISPATCH_VERIFICATION_KEY   PEM, or the 32 bytes of a public key in base64
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_HOW: Final = "`openssl genpkey -algorithm ed25519` makes one"


class KeyInvalid(ValueError):
    """A text that should hold keys does not. The message says what to do, and quotes no key."""


def new_private_key() -> Ed25519PrivateKey:
    """Make a key, from the system's random numbers."""
    return Ed25519PrivateKey.generate()


def private_key_pem(key: Ed25519PrivateKey) -> bytes:
    """Write a private key as PEM (PKCS 8, not encrypted), as `read_private_keys` reads it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key_pem(key: Ed25519PublicKey) -> str:
    """Write a public key as PEM; the last line ends with a newline."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def public_key_base64(key: Ed25519PublicKey) -> str:
    """Write the 32 bytes of a public key in base64: one line, for the environment."""
    return base64.b64encode(key.public_bytes_raw()).decode("ascii")


def read_private_keys(pem: bytes) -> tuple[Ed25519PrivateKey, ...]:
    """Read the private keys of a PEM file, in its order; at least one. Other text is skipped.

    Raises:
        KeyInvalid: there is none, or one is not Ed25519, is encrypted or damaged.
    """
    return tuple(map(_private_key, _blocks(pem.decode("latin-1"), "private")))


def read_verification_keys(text: str) -> tuple[Ed25519PublicKey, ...]:
    """Read DISPATCH_VERIFICATION_KEY: public keys, in their order; at least one.

    The text is PEM, where a backslash and an n may stand for a newline, or standard base64 of 32
    bytes. Several keys, while the server changes its own: PEM blocks one after the other, or base64
    with commas between.

    Raises:
        KeyInvalid: it is neither, or a key is not Ed25519.
    """
    if "-----BEGIN" in text:
        return tuple(map(_public_key, _blocks(text.replace("\\n", "\n"), "public")))
    return tuple(_raw_public_key(part.strip()) for part in text.split(","))


def _blocks(text: str, kind: str) -> list[str]:
    blocks = [match.group() for match in _BLOCK.finditer(text)]
    if not blocks:
        raise KeyInvalid(f"no complete PEM block with a {kind} key; {_HOW}")
    return blocks


def _private_key(block: str) -> Ed25519PrivateKey:
    if "PUBLIC KEY" in block:
        raise KeyInvalid(f"this is a public key, and a private one is needed; {_HOW}")
    if "OPENSSH" in block:
        raise KeyInvalid(f"this is a key of OpenSSH, and PKCS 8 is needed; {_HOW}")
    try:
        key = load_pem_private_key(block.encode("latin-1"), password=None)
    except TypeError as error:
        raise KeyInvalid("this private key is encrypted; decrypt it with `openssl pkey`") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyInvalid(f"this private key can't be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyInvalid(f"this private key is not an Ed25519 key; {_HOW}")
    return key


def _public_key(block: str) -> Ed25519PublicKey:
    if "PRIVATE KEY" in block:
        raise KeyInvalid(
            "this is a private key, which only the server should have; "
            "`dispatcher keys show` prints the public one"
        )
    try:
        key = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyInvalid(f"this public key can't be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyInvalid("this public key is not an Ed25519 key")
    return key


def _raw_public_key(text: str) -> Ed25519PublicKey:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise KeyInvalid(
            "expected an Ed25519 public key, as PEM or as base64 of its 32 bytes; "
            "`dispatcher keys show` prints both"
        )
    return Ed25519PublicKey.from_public_bytes(raw)

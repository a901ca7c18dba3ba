"""Keys in the forms people write them in."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from dispatcher.protocol.keys import (
    KeyInvalid,
    new_private_key,
    private_key_pem,
    public_key_base64,
    public_key_pem,
    read_private_keys,
    read_verification_keys,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BASE64 = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
PEM = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=\n"
    "-----END PUBLIC KEY-----\n"
)
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
EC = ec.derive_private_key(7, ec.SECP256R1())
EC_PEM = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
EC_PUBLIC = EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_public_key_is_written_as_in_the_protocols_example() -> None:
    """Both forms of the test vector's key."""
    assert public_key_base64(KEY.public_key()) == BASE64
    assert public_key_pem(KEY.public_key()) == PEM


def test_private_key_is_read_as_it_was_written() -> None:
    """A new one each time."""
    key, another = new_private_key(), new_private_key()
    (read,) = read_private_keys(private_key_pem(key))
    assert read.private_bytes_raw() == key.private_bytes_raw() != another.private_bytes_raw()


def test_file_may_hold_two_private_keys_and_other_text() -> None:
    """While a server changes its key; in the order of the file."""
    text = b"# old\xff\n" + private_key_pem(KEY) + b"\n# new\n" + private_key_pem(OTHER)
    read = read_private_keys(text)
    assert [key.private_bytes_raw() for key in read] == [bytes(range(32)), bytes(32)]


@pytest.mark.parametrize(
    "text",
    [BASE64, f" {BASE64}\n", PEM, PEM.replace("\n", "\\n"), PEM.strip(), PEM.replace("\n", "\r\n")],
)
def test_verification_key_is_read_in_all_its_forms(text: str) -> None:
    """DISPATCH_VERIFICATION_KEY, as other SDKs take it."""
    (key,) = read_verification_keys(text)
    assert public_key_base64(key) == BASE64


@pytest.mark.parametrize(
    "text",
    [
        f"{BASE64}, {public_key_base64(OTHER.public_key())}",
        PEM + public_key_pem(OTHER.public_key()),
        (PEM + public_key_pem(OTHER.public_key())).replace("\n", "\\n"),
    ],
)
def test_several_verification_keys_are_read_in_order(text: str) -> None:
    """An application knows the new key before the server signs with it."""
    first, second = read_verification_keys(text)
    assert public_key_base64(first) == BASE64
    assert public_key_base64(second) == public_key_base64(OTHER.public_key())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected an Ed25519 public key"),
        (BASE64[:-4], "expected an Ed25519 public key"),
        (BASE64.replace("/", "_"), "expected an Ed25519 public key"),
        ("not a key", "expected an Ed25519 public key"),
        ("ключ", "expected an Ed25519 public key"),
        (f"{BASE64},", "expected an Ed25519 public key"),
        (PEM[:60], "no complete PEM block"),
        (PEM.replace("MCow", "AAAA"), "can't be read"),
        (PEM.replace("MCow", "MÄow"), "can't be read"),
        (private_key_pem(KEY).decode(), "this is a private key"),
        (EC_PUBLIC, "not an Ed25519 key"),
    ],
)
def test_verification_key_that_is_none_is_refused(text: str, why: str) -> None:
    """The message says what is expected."""
    with pytest.raises(KeyInvalid, match=why):
        read_verification_keys(text)


def test_private_key_in_the_wrong_place_is_not_quoted() -> None:
    """Errors end up in logs."""
    secret = private_key_pem(KEY).decode().splitlines()[1]
    for text in (private_key_pem(KEY).decode(), secret):
        with pytest.raises(KeyInvalid) as raised:
            read_verification_keys(text)
        assert secret[-20:] not in str(raised.value)


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no complete PEM block"),
        (private_key_pem(KEY)[:-10], "no complete PEM block"),
        (private_key_pem(KEY).replace(b"MC4", b"AAA"), "can't be read"),
        (PEM.encode(), "this is a public key"),
        (EC_PEM, "not an Ed25519 key"),
        (
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p")),
            "encrypted",
        ),
        (
            KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            "of OpenSSH",
        ),
    ],
)
def test_private_key_that_is_none_is_refused(pem: bytes, why: str) -> None:
    """The message says what to do."""
    with pytest.raises(KeyInvalid, match=why):
        read_private_keys(pem)

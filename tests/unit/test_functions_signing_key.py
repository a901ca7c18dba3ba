"""The file of the keys that sign runs."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dispatcher.errors import ConfigError, KeyNotDurable, Refused
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.in_force import KeysInForce, UnkeptKey
from dispatcher.functions.signing.keys import PublicKey, SigningKeys


def ids(file: SigningKeyFile) -> list[str]:
    """Which keys are in a file."""
    return [key.id for key in file.load().public]


@pytest.fixture
def file(tmp_path: Path) -> SigningKeyFile:
    """A file that is not there yet, in a directory that is not there either."""
    return SigningKeyFile(tmp_path / "new" / "signing.pem")


def test_key_is_made_for_its_owner_only_when_the_file_is_missing(file: SigningKeyFile) -> None:
    """It is the same one from then on, and nothing else is left beside it."""
    first = ids(file)
    assert ids(file) == first
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert os.listdir(file.path.parent) == ["signing.pem"]


def test_key_of_a_cluster_is_never_made(file: SigningKeyFile) -> None:
    """Each node would have its own; one that was made elsewhere is read."""
    with pytest.raises(ConfigError, match="there is no such file") as refused:
        file.of_cluster()
    assert str(file.path) in str(refused.value)
    assert not file.path.parent.exists()
    made = ids(file)
    assert [key.id for key in file.of_cluster().public] == made


def test_public_key_is_shown_as_dispatch_py_and_cryptography_read_it(file: SigningKeyFile) -> None:
    """Base64 of 32 bytes, and PEM, of the key that signs."""
    keys = file.load()
    public = keys.public[0]
    of_base64 = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.base64, validate=True))
    of_pem = serialization.load_pem_public_key(public.pem.encode())
    assert isinstance(of_pem, Ed25519PublicKey)
    for one in (of_base64, of_pem):
        one.verify(keys.signing.sign(b"run"), b"run")


def test_second_key_signs_when_the_rotation_is_finished_and_not_before(
    file: SigningKeyFile,
) -> None:
    """`rotate` leaves the first in force; `finish` drops it."""
    (old,) = ids(file)
    assert [key.id for key in file.rotate().public] == ids(file)
    assert ids(file)[0] == old
    new = ids(file)[1]
    with pytest.raises(Refused, match="--finish"):
        file.rotate()
    assert [key.id for key in file.finish().public] == [new] == ids(file)
    with pytest.raises(Refused, match="one key only"):
        file.finish()
    assert os.listdir(file.path.parent) == ["signing.pem"]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_key_of_who_was_faster_counts_when_two_make_it_at_once(
    file: SigningKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody goes on with a key that is not in the file."""
    link = os.link

    def lose(old: Path, new: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        faster.load()
        link(old, new)

    faster = SigningKeyFile(file.path)
    monkeypatch.setattr(os, "link", lose)
    assert ids(file) == ids(faster)
    assert os.listdir(file.path.parent) == ["signing.pem"]


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN X-----\nAA==\n-----END X-----\n"])
def test_file_is_refused_and_kept_when_there_is_no_key_in_it(
    file: SigningKeyFile, content: bytes
) -> None:
    """A file that somebody spoiled is not overwritten with a key that nobody knows."""
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    with pytest.raises(ConfigError, match="Ed25519"):
        file.load()
    assert file.path.read_bytes() == content


def test_file_is_refused_when_a_key_is_of_another_kind_or_one_too_many(
    file: SigningKeyFile,
) -> None:
    """And nothing of what is in it is said."""
    encoding = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    curve = generate_private_key(SECP256R1()).private_bytes(*encoding)
    three = b"".join(Ed25519PrivateKey.generate().private_bytes(*encoding) for _ in range(3))
    file.path.parent.mkdir()
    for content in (curve, three):
        file.path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            file.load()
        assert "BEGIN" not in str(caught.value)


def test_error_names_the_setting_when_the_file_cannot_be_made(tmp_path: Path) -> None:
    """A directory in its place, or a file in place of its directory."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file" / "signing.pem"):
        with pytest.raises(ConfigError, match="SIGNING_KEY="):
            SigningKeyFile(path).load()


@pytest.mark.parametrize("is_directory", [False, True])
def test_key_is_not_there_when_it_cannot_be_synced(
    file: SigningKeyFile, monkeypatch: pytest.MonkeyPatch, is_directory: bool
) -> None:
    """A key that was shown has to survive a power cut: without a sync there is no key. No setting
    is wrong: whoever starts the server again may do so."""
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) is is_directory:
            raise OSError(5, "Input/output error")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(KeyNotDurable, match="Input/output error") as caught:
            file.load()
    assert caught.value.exit_code == 1
    assert os.listdir(file.path.parent) == []
    file.load()


def test_key_that_somebody_else_made_stays_when_the_directory_cannot_be_synced(
    file: SigningKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been shown already."""
    link = os.link

    def lose(old: Path, new: Path) -> None:
        SigningKeyFile(file.path)._replace(SigningKeys((Ed25519PrivateKey.generate(),)))
        monkeypatch.setattr(os, "fsync", fail)
        link(old, new)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", lose)
    with pytest.raises(KeyNotDurable):
        file.load()
    assert os.listdir(file.path.parent) == ["signing.pem"]


def test_start_reads_the_keys_once(file: SigningKeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever signs and whoever shows keys have the same ones, whatever happens to the file."""
    reads: list[Path] = []
    read = SigningKeyFile._read

    def count(self: SigningKeyFile) -> SigningKeys:
        reads.append(self.path)
        return read(self)

    file.load()
    monkeypatch.setattr(SigningKeyFile, "_read", count)
    KeysInForce(file)
    assert len(reads) == 1


def test_old_keys_stay_when_a_rotation_cannot_be_written(
    file: SigningKeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced as a whole or not at all."""
    before = ids(file)

    def fail(_old: object, _new: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fail)
        with pytest.raises(ConfigError, match="No space left"):
            file.rotate()
    assert ids(file) == before
    assert os.listdir(file.path.parent) == ["signing.pem"]


async def test_keys_in_force_change_when_the_file_does(file: SigningKeyFile) -> None:
    """Whoever signs is told; a file that is spoiled changes nothing."""
    told: list[tuple[PublicKey, ...]] = []
    in_force = KeysInForce(file)
    in_force.changed = lambda keys: told.append(keys.public)
    assert not await in_force.load()
    file.rotate()
    file.finish()
    assert await in_force.load()
    assert told == [file.load().public]
    made = await in_force.rotate()
    assert made == in_force.keys.public[1]
    file.path.write_bytes(b"spoiled")
    with pytest.raises(ConfigError):
        await in_force.load()
    assert told[-1] == in_force.keys.public
    assert len(told) == 2


def test_key_that_cannot_be_kept_is_the_same_for_the_process_and_is_not_rotated() -> None:
    """Nobody would have the second one after a restart."""
    keys = UnkeptKey()
    assert keys.load().public == keys.load().public
    with pytest.raises(Refused) as refused:
        keys.rotate()
    assert refused.value.refusal.slug == "signing_key_unkept"

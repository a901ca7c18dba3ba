"""The keys that sign runs: Ed25519, in one PEM file.

The first key in the file signs. `rotate` puts a second one behind it, which applications can be
given while the first still signs; `finish` drops the first, and from then on the second signs. An
application verifies with one key only, so there is no moment at which all can have both: while
there are two, a run that is refused is sent once more, signed with the other (`asking.Targets`).

The file is replaced as a whole: a crash leaves the old one or the new one, and never a key that was
shown to somebody but is not on the disk. Whoever can read it can give orders to every application,
so nobody but its owner can.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.errors import ConfigError, Refusal, Refused

_BLOCK: Final = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)
_OWNER_ONLY: Final = 0o600
_MOST_BYTES: Final = 64 * 1024
_TRIES: Final = 100
_EXPECTED: Final = "expected one or two Ed25519 private keys in PEM (PKCS #8), without a password"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What applications verify with. `id` names it, `raw` has 32 bytes."""

    id: str
    raw: bytes

    @property
    def base64(self) -> str:
        """One line: what DISPATCH_VERIFICATION_KEY takes."""
        return base64.b64encode(self.raw).decode("ascii")

    @property
    def pem(self) -> str:
        """The other form that it takes, which ends with a line end."""
        # RFC 8410: the bytes before a key are always the same.
        der = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + self.raw).decode("ascii")
        return f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"


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
        return tuple(_public(key) for key in self.private)


class SigningKeyFile:
    """A file of keys. Every call waits for the disk: call them in a thread where others wait."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> SigningKeys:
        """Read the keys; the file is made with a new one when it is missing. Of two processes that
        make it at once both get the key of one of them.

        Raises:
            ConfigError: it can't be made or read, or is no file of keys. Nothing was changed.
        """
        with self._translated():
            try:
                return self._read()
            except FileNotFoundError:
                self._make()
            return self._read()

    def rotate(self) -> SigningKeys:
        """Make a second key. The first still signs.

        Raises:
            ConfigError: as `load`.
            Refused: there are two keys already.
        """
        self.load()
        with self._translated(), self._locked():
            keys = self._read()
            if len(keys.private) > 1:
                raise Refused(
                    Refusal(
                        409,
                        "rotation_unfinished",
                        f"{self.path} has two keys already: give applications the second one "
                        "(`dispatcher keys show --next`), then run `dispatcher keys rotate "
                        "--finish`.",
                    )
                )
            return self._replace(SigningKeys((*keys.private, Ed25519PrivateKey.generate())))

    def finish(self) -> SigningKeys:
        """Drop the first key: the second signs from then on.

        Raises:
            ConfigError: as `load`.
            Refused: there is one key only.
        """
        self.load()
        with self._translated(), self._locked():
            keys = self._read()
            if len(keys.private) < 2:
                raise Refused(
                    Refusal(
                        409,
                        "rotation_not_begun",
                        f"{self.path} has one key only: `dispatcher keys rotate` makes the second.",
                    )
                )
            return self._replace(SigningKeys(keys.private[1:]))

    def _read(self) -> SigningKeys:
        with open(self.path, "rb") as file:
            text = file.read(_MOST_BYTES)
        blocks = _BLOCK.findall(text)
        try:
            found = [serialization.load_pem_private_key(block, None) for block in blocks]
        except (ValueError, TypeError, UnsupportedAlgorithm):  # their texts may quote the key
            found = []
        keys = tuple(key for key in found if isinstance(key, Ed25519PrivateKey))
        if len(keys) != len(found) or not 1 <= len(keys) <= 2:
            raise ConfigError(f"SIGNING_KEY={self.path}: {_EXPECTED}")
        return SigningKeys(keys)

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._unfinished(SigningKeys((Ed25519PrivateKey.generate(),))) as unfinished:
            with suppress(FileExistsError):  # somebody else was faster: theirs counts
                os.link(unfinished, self.path)
            self._sync_directory()

    def _replace(self, keys: SigningKeys) -> SigningKeys:
        with self._unfinished(keys) as unfinished:
            os.rename(unfinished, self.path)
            self._sync_directory()
        return keys

    @contextmanager
    def _unfinished(self, keys: SigningKeys) -> Iterator[Path]:
        """A file beside ours with these keys, durable, which is gone afterwards."""
        # No number of a process: two containers may share the directory, and both have number 1.
        path = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.tmp")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b"".join(_pem(key) for key in keys.private))
                file.flush()
                self._give_to_owner(file.fileno())
                os.fsync(file.fileno())
            yield path
        finally:
            with suppress(FileNotFoundError):
                path.unlink()

    def _give_to_owner(self, descriptor: int) -> None:
        """Made by root, the file would be one that the server, another user, can't read."""
        if os.geteuid() == 0:
            directory = os.stat(self.path.parent)
            os.fchown(descriptor, directory.st_uid, directory.st_gid)

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the file. Who waited has the lock of a file that was replaced meanwhile."""
        for _ in range(_TRIES):
            descriptor = os.open(self.path, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                    yield
                    return
            finally:
                os.close(descriptor)
        raise ConfigError(f"SIGNING_KEY={self.path}: others change it all the time; try again")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"SIGNING_KEY={self.path}: {error.strerror or type(error).__name__}; expected a "
                "file that can be read, or a directory in which it can be made"
            ) from error


class UnkeptKey:
    """A key for this process alone, where there is no place for a file (as `SigningKeyFile`)."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys = SigningKeys((Ed25519PrivateKey.generate(),))

    def load(self) -> SigningKeys:
        """The key, always the same."""
        return self._keys

    def rotate(self) -> SigningKeys:
        """It cannot be kept.

        Raises:
            Refused: always.
        """
        raise Refused(
            Refusal(
                409,
                "signing_key_unkept",
                "The server's signing key is in its memory only: set SIGNING_KEY to a file that it "
                "can write, and restart it.",
            )
        )


class KeysInForce:
    """The keys of a running server. `changed` is told of those that are in force from now on."""

    __slots__ = ("_changed", "_file", "_keys")

    def __init__(
        self, file: SigningKeyFile | UnkeptKey, changed: Callable[[SigningKeys], None]
    ) -> None:
        self._file = file
        self._changed = changed
        self._keys: SigningKeys | None = None

    @property
    def keys(self) -> SigningKeys:
        """Those in force; there are some once they were loaded."""
        assert self._keys is not None
        return self._keys

    async def load(self) -> bool:
        """Read the file, again; say whether there are other keys in it.

        Raises:
            ConfigError: it can't be made or read; those in force stay.
        """
        return self._take(await asyncio.to_thread(self._file.load))

    async def rotate(self) -> PublicKey:
        """Make a second key (`SigningKeyFile.rotate`)."""
        keys = await asyncio.to_thread(self._file.rotate)
        self._take(keys)
        return keys.public[-1]

    def _take(self, keys: SigningKeys) -> bool:
        if self._keys is not None and keys.public == self._keys.public:
            return False
        self._keys = keys
        self._changed(keys)
        return True


def _public(key: Ed25519PrivateKey) -> PublicKey:
    raw = key.public_key().public_bytes_raw()
    return PublicKey(hashlib.sha256(raw).hexdigest()[:16], raw)


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

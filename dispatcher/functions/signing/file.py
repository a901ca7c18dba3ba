"""The file of the keys that sign runs (SIGNING_KEY).

The first key in the file signs. `rotate` puts a second one behind it, which applications can be
given while the first still signs; `finish` drops the first, and from then on the second signs. An
application verifies with one key only, so there is no moment at which all can have both: while
there are two, a run that is refused is sent once more, signed with the other (`asking.Targets`).

The file is replaced as a whole: a crash leaves the old one or the new one, and never a key that was
shown to somebody but is not on the disk. Whoever can read it can give orders to every application,
so nobody but its owner can.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, KeyNotDurable, Refusal, Refused
from dispatcher.functions.signing.keys import SigningKeys
from dispatcher.protocol.keys import (
    KeyInvalid,
    new_private_key,
    private_key_pem,
    read_private_keys,
)

_OWNER_ONLY: Final = 0o600
_MOST_BYTES: Final = 64 * 1024
_TRIES: Final = 100
_EXPECTED: Final = "expected one or two Ed25519 private keys in PEM (PKCS #8), without a password"


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
            KeyNotDurable: a new one could not be synced. It is not there.
        """
        with self._translated():
            try:
                return self._read()
            except FileNotFoundError:
                self._make()
            return self._read()

    def of_cluster(self) -> SigningKeys:
        """Read the keys of a file that all nodes of a cluster have: none is made.

        Raises:
            ConfigError: it is not there, can't be read, or is no file of keys.
        """
        with self._translated():
            try:
                return self._read()
            except FileNotFoundError as error:
                raise ConfigError(
                    f"SIGNING_KEY={self.path}: there is no such file; expected the one that all "
                    "nodes of the CLUSTER have. Make it once (`dispatcher keys show` does), and "
                    "copy it to each of them"
                ) from error

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
            return self._replace(SigningKeys((*keys.private, new_private_key())))

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
        try:
            keys = read_private_keys(text)
        except KeyInvalid:
            keys = ()
        if not 1 <= len(keys) <= 2:
            # Without the cause, whose text may quote a key.
            raise ConfigError(f"SIGNING_KEY={self.path}: {_EXPECTED}")
        return SigningKeys(keys)

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._unfinished(SigningKeys((new_private_key(),))) as unfinished:
            with suppress(FileExistsError):  # somebody else was faster: theirs counts
                os.link(unfinished, self.path)
            try:
                self._sync_directory()
            except KeyNotDurable:
                # The next start would take it for a key that survives a power cut.
                if self.path.samefile(unfinished):
                    self.path.unlink()
                raise

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
                file.write(b"".join(private_key_pem(key) for key in keys.private))
                file.flush()
                self._give_to_owner(file.fileno())
                self._sync(file.fileno())
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
            self._sync(descriptor)
        finally:
            os.close(descriptor)

    def _sync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise KeyNotDurable(
                f"SIGNING_KEY={self.path}: the disk did not take the key: "
                f"{error.strerror or type(error).__name__}. Look after the disk, then start again."
            ) from error

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

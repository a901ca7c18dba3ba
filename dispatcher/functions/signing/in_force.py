"""The keys that a running server signs with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dispatcher.apart import apart
from dispatcher.errors import Refusal, Refused
from dispatcher.functions.signing.file import SigningKeyFile
from dispatcher.functions.signing.keys import PublicKey, SigningKeys
from dispatcher.protocol.keys import new_private_key


class UnkeptKey:
    """A key for this process alone, where there is no place for a file (as `SigningKeyFile`)."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys = SigningKeys((new_private_key(),))

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
    """The keys of a running server, read when it is made. `keys` are those in force; `changed` is
    told of others that are from then on."""

    __slots__ = ("_file", "changed", "keys")

    def __init__(self, file: SigningKeyFile | UnkeptKey) -> None:
        """
        Raises:
            ConfigError, KeyNotDurable: see `SigningKeyFile.load`.
        """
        self._file = file
        self.keys = file.load()
        self.changed: Callable[[SigningKeys], None] = _nobody

    async def load(self) -> bool:
        """Read the file again; say whether there are other keys in it.

        Raises:
            ConfigError, KeyNotDurable: it can't be made or read; those in force stay.
        """
        return self._take(await apart(self._file.load, name="signing-keys"))

    async def rotate(self) -> PublicKey:
        """Make a second key (`SigningKeyFile.rotate`)."""
        keys = await asyncio.to_thread(self._file.rotate)
        self._take(keys)
        return keys.public[-1]

    def _take(self, keys: SigningKeys) -> bool:
        if keys.public == self.keys.public:
            return False
        self.keys = keys
        self.changed(keys)
        return True


def _nobody(_: SigningKeys) -> None:
    """Nobody has asked to be told."""

"""Keys that callers and operators show: who has them, and what they may do with them.

A key is compared so that nobody can find it one bit at a time, and is never shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a key is for.

    `ADMIN` may do everything. `READ` may look at everything the API shows, and change nothing.
    `DISPATCH` is an application's: it hands in messages and calls, and sees nothing of others.
    """

    ADMIN = "admin"
    READ = "read"
    DISPATCH = "dispatch"


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `name` stands for it wherever it is written down; `secret` is printable ASCII."""

    name: str
    role: Role
    secret: bytes = field(repr=False)


class Keyring:
    """The keys in force. Without any, everybody is let in: `is_open`.

    They are replaced as a whole while requests come in; a ring never changes between open and
    closed, so that no slip in a file opens a server.
    """

    __slots__ = ("_keys", "is_open")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)
        self.is_open = not self._keys

    @staticmethod
    def of_secrets(*secrets: bytes) -> Keyring:
        """Make a ring of bare secrets, named by their place, as the settings do."""
        return Keyring(
            Key(f"key-{place}", Role.ADMIN, secret) for place, secret in enumerate(secrets, start=1)
        )

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(key.name for key in self._keys) or 'open'}>"

    def find(self, shown: bytes) -> Key | None:
        """Return the key that was shown, None where it is none of them.

        Takes a time that does not depend on how much of it is right.
        """
        found: Key | None = None
        for key in self._keys:  # all of them: leaving early would tell which one it was
            if hmac.compare_digest(shown, key.secret) and found is None:
                found = key
        return found

    def replace(self, keys: Iterable[Key]) -> None:
        """Put others in their place.

        Raises:
            ValueError: that would open a closed ring, or close an open one. Nothing has changed.
        """
        replacement = tuple(keys)
        if self.is_open is not (not replacement):
            raise ValueError("keys can be replaced, not introduced or dropped")
        self._keys = replacement

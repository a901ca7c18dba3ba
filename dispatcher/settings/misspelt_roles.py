"""Keys that were meant to have a role, and have none because its name is misspelt.

`shop:dispach:SECRET` has no role that exists, so by the rule of the settings all of it is the
secret of an administrator. That is no error, since a secret may have colons; but whoever wrote it
wanted something else, and the application that shows `SECRET` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from dispatcher.core.keys import Key, Role
from dispatcher.settings.model import Settings

_WORD: Final = re.compile(r"[A-Za-z_-]{1,20}")
"""What a person writes for a role. A part of a random secret rarely looks so."""


@dataclass(frozen=True, slots=True)
class MisspeltRole:
    """A key of `setting`, by the name that logs have for it (`key-2`: the second of its list), and
    the role that was probably meant, if one is near. No part of the key is in it: all of it is a
    secret."""

    setting: str
    key: str
    meant: Role | None


def misspelt_roles(settings: Settings) -> list[MisspeltRole]:
    """Return the keys of all settings whose role is probably misspelt."""
    return [
        *_of_setting("API_KEYS", settings.api_keys),
        *_of_setting("LISTEN_KEYS", settings.listen_keys),
    ]


def _of_setting(setting: str, keys: Iterable[Key]) -> Iterator[MisspeltRole]:
    for key in keys:
        parts = key.secret.decode("ascii").split(":")
        if len(parts) == 3 and all(parts) and _WORD.fullmatch(parts[1].strip()):
            yield MisspeltRole(setting, key.name, _nearest(parts[1].strip().lower()))


def _nearest(word: str) -> Role | None:
    near = get_close_matches(word, list(Role), n=1, cutoff=0.5)
    return Role(near[0]) if near else None

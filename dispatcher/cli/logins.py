"""The login: address and key of one API, kept for the commands that talk to it.

    $XDG_CONFIG_HOME/dispatcher/login.json      {"url": "https://…", "key": "…"}

or the file that DISPATCHER_LOGIN names. Only its owner may read it; one that others can read is
not used, as nobody knows who has changed it.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dispatcher.cli.address import Server
from dispatcher.cli.errors import BadUsage, CommandError

VARIABLE: Final = "DISPATCHER_LOGIN"
_OWNER_ONLY: Final = 0o600
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Login:
    """Where an API is, and the key for it; None where it asks for none."""

    server: Server
    key: str | None = field(repr=False)


def path() -> Path:
    """The file of the login."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    given = os.environ.get("XDG_CONFIG_HOME", "")
    home = Path(given) if os.path.isabs(given) else Path.home() / ".config"
    return home / "dispatcher" / "login.json"


def load() -> Login | None:
    """Return the login, None where there is none.

    Raises:
        BadUsage: the file is no login, or others may read it.
    """
    place = path()
    try:
        with place.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise BadUsage(
                    f"{place}: others can read the key in it. Make it yours alone "
                    f"(`chmod 600 {place}`), or run `dispatcher logout`"
                )
            found = json.load(file)
        key = found["key"]
        if key is not None and not isinstance(key, str):
            raise TypeError
        return Login(Server.parse(found["url"], str(place)), key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadUsage(f"{place}: is no login; run `dispatcher login URL` again") from error


def save(login: Login) -> None:
    """Keep a login in place of any other. A crash leaves the old one or the new one.

    Raises:
        CommandError: it cannot be written. The old one is there still.
    """
    place = path()
    unfinished = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"url": str(login.server), "key": login.key}, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, place)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise CommandError(f"{place} cannot be written: {error.strerror}") from error


def forget() -> bool:
    """Remove the login. Returns whether there was one.

    Raises:
        CommandError: it cannot be removed.
    """
    try:
        path().unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise CommandError(f"{path()} cannot be removed: {error.strerror}") from error
    return True

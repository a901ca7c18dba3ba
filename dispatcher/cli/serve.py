"""`dispatcher serve`: read the settings and rules and run the server until it is told to stop."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher import node
from dispatcher.errors import ConfigError
from dispatcher.node.early_stop import EarlyStop
from dispatcher.settings import loaded

_KEY_FILE: Final = "API_KEYS_FILE"
_KEY_BYTES: Final = 24


def serve(*, make_key: bool = False) -> int:
    """Run the server. Returns its exit code. With `make_key` the file of the API's keys is made
    first, when it is missing.

    Raises:
        DispatcherError: the settings or rules are wrong, or the server cannot start.
    """
    early = EarlyStop()
    early.begin()
    made = _make_key(os.environ) if make_key else None
    settings, rules = loaded.load(os.environ)
    return node.run(settings, os.environ, rules=rules, made_key=made, early=early)


def _make_key(environ: Mapping[str, str]) -> Path | None:
    """Write a new key into the file that the settings name, and return its path; None when the file
    is there. A crash leaves a whole file or none."""
    name = environ.get(_KEY_FILE, "").strip()
    if not name:
        raise ConfigError(f"--make-api-key: expected {_KEY_FILE} to name the file of the key")
    path = Path(name)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if path.exists():
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(secrets.token_urlsafe(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return None
        finally:
            unfinished.unlink()
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise ConfigError(
            f"{_KEY_FILE}={name}: the key cannot be made: {error.strerror}"
        ) from error
    return path

"""A session: the directory in which a run keeps its logs, its keys and its addresses.

    NAME/
        session.json       address of the application, port and key of the API; its owner's alone
        environment        what a shell reads in which other commands are to find the server
        lock               held by the run and by its guard
        transaction.log/   deadletter.log/   results.log/   signing.pem

One with a name lies under XDG_STATE_HOME and goes on where it ended, also after a crash. Calls that
are suspended name the address of the application, so that never changes. One without a name is a
temporary directory, and is removed at the end.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from dispatcher.cli.errors import BadUsage, CommandError
from dispatcher.cli.local.ports import HOST, free_port, is_free
from dispatcher.errors import LogLocked, PortTaken

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_BYTES: Final = 15
_GUARD_S: Final = 6.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Facts:
    """What a session keeps. `endpoint` is where the application listens, as `host:port`."""

    endpoint: str
    api_port: int
    key: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is ours alone. `name` is None where it ends with the run; `lock` is the
    descriptor that keeps others out."""

    directory: Path
    name: str | None
    facts: Facts
    lock: int


def sessions_directory() -> Path:
    """Where sessions with a name are."""
    given = os.environ.get("XDG_STATE_HOME", "")
    home = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return home / "dispatcher" / "sessions"


@contextmanager
def opened(name: str | None, endpoint: str | None) -> Iterator[Session]:
    """Take a session, or make it. `endpoint` None: as it was, or any free port of loopback.

    Raises:
        BadUsage: the name cannot be one, or the session's endpoint is another.
        LogLocked: another run has it.
        PortTaken: somebody listens where the application is to.
    """
    directory = Path(tempfile.mkdtemp(prefix="dispatcher-run-")) if name is None else _named(name)
    try:
        with _locked(directory, name) as lock:
            yield Session(directory, name, _facts(directory, name, endpoint), lock)
    finally:
        if name is None:
            shutil.rmtree(directory, ignore_errors=True)


def write_environment(session: Session, variables: Mapping[str, str]) -> Path:
    """Write the file that a shell reads (`. FILE`) to have these variables. Returns its path."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    path = session.directory / "environment"
    _replace(path, "".join(lines))
    return path


def checked(name: str) -> str:
    """Return a name that can be one of a session.

    Raises:
        BadUsage: it can be none.
    """
    if not _NAME.fullmatch(name):
        raise BadUsage(
            f"--session {name}: expected a name of at most 64 letters, digits, dots, dashes and "
            "underscores, such as shop"
        )
    return name


def _named(name: str) -> Path:
    directory = sessions_directory() / checked(name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"--session {name}: {directory} cannot be made: {error.strerror}"
        ) from error
    return directory


@contextmanager
def _locked(directory: Path, name: str | None) -> Iterator[int]:
    """Keep others out. Where a run was killed, its guard needs a moment to end what it began."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _GUARD_S
        while not _try_lock(descriptor):
            owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            if _lives(owner) or time.monotonic() > deadline:
                raise LogLocked(
                    f"session {name} is running already, in process {owner or '?'}. Stop that one "
                    "first, or give this run another --session."
                )
            time.sleep(_POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lives(process: str) -> bool:
    """Whether there is such a process; a number that is not there is about to be written."""
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _facts(directory: Path, name: str | None, endpoint: str | None) -> Facts:
    path = directory / "session.json"
    kept = _read(path)
    if kept is None:
        facts = Facts(
            endpoint or f"{HOST}:{free_port()}", free_port(), secrets.token_urlsafe(_KEY_BYTES)
        )
    elif endpoint not in (None, kept.endpoint):
        raise BadUsage(
            f"--endpoint {endpoint}: the calls of session {name} expect the application at "
            f"{kept.endpoint}. Leave --endpoint out, or take another --session."
        )
    else:
        facts = kept
    _expect_free(facts.endpoint, name)
    if not is_free(HOST, facts.api_port):  # nothing that is kept names it
        facts = replace(facts, api_port=free_port())
    if facts != kept:
        _replace(path, json.dumps(asdict(facts)))
    return facts


def _read(path: Path) -> Facts | None:
    try:
        return Facts(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise CommandError(
            f"{path} cannot be read ({error}). Remove {path.parent} to begin that session anew."
        ) from error


def _replace(path: Path, text: str) -> None:
    """Write a file that is its owner's alone. A crash leaves the old one or the new one."""
    unfinished = path.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(unfinished, path)


def _expect_free(endpoint: str, name: str | None) -> None:
    host, _, port = endpoint.rpartition(":")
    try:
        if is_free(host.strip("[]"), int(port)):
            return
    except OSError as error:
        raise BadUsage(f"--endpoint {endpoint}: {error.strerror or error}") from error
    whose = "" if name is None else f", where the calls of session {name} expect the application,"
    raise PortTaken(
        f"{endpoint}{whose} is in use: stop what listens there. The application that is started "
        "here is to listen on it."
    )

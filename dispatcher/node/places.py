"""Where the logs are to live: looked at before anything is made there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, LogError
from dispatcher.settings import Settings
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.recovery import has_begun

RESULTS: Final = "results.log"
AUDIT: Final = "audit.log"
"""These logs have no settings of their own: they lie beside the transaction log."""


_OTHER: Final = re.compile(r"p[1-9][0-9]{0,4}")


def place_of(directory: Path, number: int) -> Path:
    """Where a log of a partition lies; `directory` is that of partition 0."""
    return directory / f"p{number}" if number else directory


def numbers_in(directory: Path) -> list[int]:
    """The partitions whose logs are there, from 0, which there always is; `directory` is that of
    partition 0."""
    try:
        names = os.listdir(directory)
    except OSError:
        return [0]  # opening it says what is wrong
    return [0, *sorted(int(name[1:]) for name in names if _OTHER.fullmatch(name))]


def results_of(transaction_log: Path) -> Path:
    """The directory of the results' log that belongs to a transaction log."""
    return transaction_log.parent / RESULTS


def audit_of(transaction_log: Path) -> Path:
    """The directory of the audit's log that belongs to a transaction log."""
    return transaction_log.parent / AUDIT


def has_log(directory: Path) -> bool:
    """Whether there is a log that has to be opened at a start. A directory without one is left by
    a process that could not make one."""
    try:
        return has_begun(directory, RealDisk())
    except FileNotFoundError:
        return False
    except (OSError, LogError):
        return True  # opening it says what is wrong


def check_places(settings: Settings) -> None:
    """Refuse a file where a directory is to be: the first Dispatcher kept its logs in files, under
    the same names. And refuse two logs in one place.

    Raises:
        ConfigError: saying how to bring what is in it along, or what to change.
    """
    results = results_of(settings.transaction_log)
    for name, path in _logs(settings):
        if path.is_file():
            raise ConfigError(
                f"{name}={path}: is a file, as the first Dispatcher's log was; expected a "
                f"directory. To bring its messages along, move it away (`mv {path} {path}.old`), "
                f"start the server, and run `dispatcher import {path}.old`"
            )
        for of_other, other in _logs(settings):
            if of_other != name and path.absolute().is_relative_to(other.absolute()):
                raise ConfigError(
                    f"{name}={path}: lies in the directory of the other log, {other}; expected a "
                    "directory of its own"
                )
        if path.absolute() == results.absolute():
            raise ConfigError(
                f"{name}={path}: expected another name: results of function calls are kept in "
                f"{RESULTS} beside TRANSACTION_LOG"
            )
        if path.absolute() == audit_of(settings.transaction_log).absolute():
            raise ConfigError(
                f"{name}={path}: expected another name: what operators do is kept in {AUDIT} "
                "beside TRANSACTION_LOG"
            )
    if results.is_file():
        raise ConfigError(
            f"{results}: is a file, where results of function calls are to be kept in a directory; "
            "move it away, or put TRANSACTION_LOG into another directory"
        )


def _logs(settings: Settings) -> tuple[tuple[str, Path], ...]:
    return (
        ("TRANSACTION_LOG", settings.transaction_log),
        ("DEAD_LETTER", settings.dead_letter),
    )

"""Putting a backup back, while no server runs: into logs that are not there, or empty.

The spans of the logs are written last. Until then each log that is being restored is damaged to a
start, so that one that was broken off is never taken for a whole one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError, LogCorrupt, LogError, LogUnavailable
from dispatcher.node.backup.manifest import (
    AUDIT,
    DEAD_LETTER,
    MANIFEST,
    RESULTS,
    TRANSACTION,
    Manifest,
    Part,
    names_of,
)
from dispatcher.node.layout import NAME, Layout, decoded, write_layout
from dispatcher.node.places import audit_of, place_of, results_of
from dispatcher.txlog.files import inspect
from dispatcher.txlog.files.cut import sync_directory
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.place import LOCK, take_lock
from dispatcher.txlog.files.scan import Damage, Found
from dispatcher.txlog.files.segment import MIB, Sizes
from dispatcher.txlog.files.span import SPAN

_DISK: Final = RealDisk()
_SIZES: Final = Sizes()
_PIECE_BYTES: Final = 4 * MIB

Told = Callable[[int, int], object]
"""Told how many bytes were copied, of how many."""


def restore(backup: Path, transaction: Path, dead_letter: Path, *, told: Told) -> Manifest:
    """Copy a backup to where the logs of the settings are, those of the results and of
    the audit beside the transaction log. Returns what the backup says of itself.

    Raises:
        ConfigError: it is not a whole backup, or there is a log already.
        LogCorrupt: the backup is damaged; nothing was written.
        LogLocked: a server runs.
        LogUnavailable: there is no space; what was written is removed again.
    """
    manifest = Manifest.read(backup)
    targets = {
        TRANSACTION: transaction,
        DEAD_LETTER: dead_letter,
        RESULTS: results_of(transaction),
        AUDIT: audit_of(transaction),
    }
    for number in manifest.numbers:
        of_messages, of_letters = names_of(number)
        targets[of_messages] = place_of(transaction, number)
        targets[of_letters] = place_of(dead_letter, number)
    layout = _layout_of(backup, manifest)
    pairs = _pairs(backup, manifest, targets)
    for part, _ in pairs:
        _check(backup / part.directory, part)
    for target in targets.values():  # what another server kept is not to be found in this one
        _check_empty(target)
    locks: list[int] = []
    try:
        for _, target in pairs:
            locks += take_lock(target, _DISK)
            _check_empty(target)
        _copy_all(backup, pairs, told, before_spans=lambda: _write(transaction, layout))
    finally:
        for fd in locks:
            _DISK.close(fd)
    for part, target in pairs:
        _check(target, part)
    return manifest


def _layout_of(backup: Path, manifest: Manifest) -> Layout | None:
    if manifest.layout is None:
        return None
    return decoded(backup / MANIFEST, json.dumps(manifest.layout).encode())


def _write(transaction: Path, layout: Layout | None) -> None:
    if layout is not None:
        write_layout(transaction, layout)


def _pairs(
    backup: Path, manifest: Manifest, targets: Mapping[str, Path]
) -> list[tuple[Part, Path]]:
    """Each log of a backup, and where it is put. Raises ConfigError."""
    try:
        return [(part, targets[part.directory]) for part in manifest.parts]
    except KeyError as error:
        raise ConfigError(f"{backup}: not of a backup: a log named {error}") from error


def _check(directory: Path, part: Part) -> None:
    """Read a log of a backup. Raises LogCorrupt."""
    found = inspect.verify(directory, _DISK, _SIZES)
    if isinstance(found, Damage):
        raise LogCorrupt(str(directory / found.name), found.offset, found.reason)
    assert isinstance(found, Found)
    if found.end != part.end:
        raise LogCorrupt(str(directory), 0, "it does not end where the backup says")


def _check_empty(target: Path) -> None:
    """Raises ConfigError when something is there."""
    try:
        left = sorted(set(os.listdir(target)) - {LOCK})
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{target}: not usable for a log: {error.strerror}") from error
    if left:
        raise ConfigError(
            f"{target}: there is something already ({left[0]}). A backup is restored into logs that"
            " are not there: move this directory away first, or name another one."
        )


def _copy_all(
    backup: Path,
    pairs: list[tuple[Part, Path]],
    told: Told,
    *,
    before_spans: Callable[[], None],
) -> None:
    files = [
        (path, target / path.name)
        for part, target in pairs
        for path in sorted((backup / part.directory).glob("*.seg"))
    ]
    # The spans last, and of them that of the transaction log: a start needs both.
    spans = [(backup / part.directory / SPAN, target / SPAN) for part, target in reversed(pairs)]
    total = sum(path.stat().st_size for path, _ in files)
    done = 0
    try:
        for source, target in files:
            for size in _copy(source, target):
                done += size
                told(done, total)
        for _, directory in pairs:
            sync_directory(directory)
        before_spans()
        for source, target in spans:
            for _ in _copy(source, target):
                pass
            sync_directory(target.parent)
    except BaseException as error:
        for _, target in [*spans, *files]:
            target.unlink(missing_ok=True)
        (pairs[0][1] / NAME).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _failed(error) from error
        raise


def _copy(source: Path, target: Path) -> list[int]:
    """Copy a file, durable; returns the sizes of the pieces."""
    sizes = []
    with source.open("rb") as reader, target.open("xb") as writer:
        os.fchmod(writer.fileno(), 0o600)
        while data := reader.read(_PIECE_BYTES):
            writer.write(data)
            writer.flush()
            os.fdatasync(writer.fileno())
            sizes.append(len(data))
    return sizes


def _failed(error: OSError) -> LogError:
    return LogUnavailable(
        f"the backup cannot be restored: {error}. What was written is removed again."
    )

"""The file of an export: whole or not there, and nobody else's to read."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dispatcher.cli.errors import BadUsage, CommandError
from dispatcher.cli.selection import STDIN


@contextmanager
def written(file: Path, *, is_replaced: bool = False) -> Iterator[IO[bytes]]:
    """Open what an export is written to: a file that gets its name when it is whole and on disk,
    or what is there already and is no file (a pipe, a device), or standard output.

    Only the owner may read the file: what messages hold is secret.

    Raises:
        BadUsage: there is such a file, which is not to be replaced. It is as it was.
        CommandError: it cannot be written.
    """
    if str(file) == STDIN:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if file.exists() and not file.is_file():
            with file.open("wb") as target:
                yield target
            return
        if file.exists() and not is_replaced:
            raise BadUsage(f"{file}: there is such a file; --force replaces it")
        with _replacing(file.resolve()) as target:  # a link stays one
            yield target
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}") from error


@contextmanager
def _replacing(place: Path) -> Iterator[IO[bytes]]:
    descriptor, name = tempfile.mkstemp(".unfinished", f"{place.name}.", place.parent)
    unfinished = Path(name)
    try:
        with open(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)

"""What a backup holds: the file that makes it one. It is written last, so that a directory without
it is a backup that was not finished."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dispatcher.errors import ConfigError
from dispatcher.txlog.cut import sync_directory

MANIFEST: Final = "backup.json"
FORMATS: Final = (1, 2)
"""2 has a results' log. One without is written as 1, which every version restores."""
TRANSACTION: Final = "transaction.log"
DEAD_LETTER: Final = "deadletter.log"
RESULTS: Final = "results.log"
UNFINISHED: Final = "backup.json.tmp"


@dataclass(frozen=True, slots=True)
class Part:
    """A log in a backup: the directory it is in, and the position where it ends."""

    directory: str
    end: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`made_at` is RFC 3339, the moment that the backup shows; `version` is the program's."""

    made_at: str
    version: str
    transaction: Part
    dead_letter: Part
    results: Part | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its logs, that of the results last, where there is one."""
        both = self.transaction, self.dead_letter
        return both if self.results is None else (*both, self.results)

    def _document(self) -> dict[str, object]:
        found = {name: value for name, value in asdict(self).items() if value is not None}
        return {"format": FORMATS[0] if self.results is None else FORMATS[1], **found}

    def write(self, directory: Path) -> None:
        """Make the directory a backup, durable. Raises OSError."""
        unfinished = directory / UNFINISHED
        with unfinished.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(self._document(), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(directory / MANIFEST)
        sync_directory(directory)
        sync_directory(directory.parent)

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Return what a backup says of itself.

        Raises:
            ConfigError: it is none, or not a whole one, or of a version that is not known.
        """
        try:
            found = json.loads((directory / MANIFEST).read_bytes())
        except FileNotFoundError as error:
            raise ConfigError(
                f"{directory}: not a whole backup: it has no {MANIFEST}, which is written last."
                " Name the directory that was given to `dispatcher backup`."
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigError(f"{directory / MANIFEST}: cannot be read: {error}") from error
        try:
            number = found.pop("format")
            if number not in FORMATS:
                raise ConfigError(
                    f"{directory}: a backup of format {number}, {FORMATS[-1]} is the newest known:"
                    " start the version that made it"
                )
            return cls(
                made_at=found.pop("made_at"),
                version=found.pop("version"),
                transaction=Part(**found.pop("transaction")),
                dead_letter=Part(**found.pop("dead_letter")),
                results=Part(**found.pop("results")) if number == FORMATS[1] else None,
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"{directory / MANIFEST}: not of a backup: {error!r}") from error

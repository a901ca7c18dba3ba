"""What a backup holds: the file that makes it one. It is written last, so that a directory without
it is a backup that was not finished."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from dispatcher.errors import ConfigError
from dispatcher.node.places import place_of
from dispatcher.txlog.files.cut import sync_directory

MANIFEST: Final = "backup.json"
FORMATS: Final = (1, 2, 3, 4, 5)
"""2 has a results' log, 3 an audit's, and a results' log or none, 4 several partitions and any of
those, 5 what `partitions.json` says too. One is written as the lowest that has what is in it: 1 is
restored by every version."""
_WITH_RESULTS, _WITH_AUDIT, _WITH_PARTITIONS, _WITH_LAYOUT = FORMATS[1:]
TRANSACTION: Final = "transaction.log"
DEAD_LETTER: Final = "deadletter.log"
RESULTS: Final = "results.log"
AUDIT: Final = "audit.log"
UNFINISHED: Final = "backup.json.tmp"


def names_of(number: int) -> tuple[str, str]:
    """The directories of the two logs of a partition in a backup: as they lie in those of the
    settings."""
    if number == 0:
        return TRANSACTION, DEAD_LETTER
    return str(place_of(Path(TRANSACTION), number)), str(place_of(Path(DEAD_LETTER), number))


@dataclass(frozen=True, slots=True)
class Part:
    """A log in a backup: the directory it is in, and the position where it ends."""

    directory: str
    end: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`made_at` is RFC 3339, the moment that the backup shows; `version` is the program's.
    `partitions` has the transaction log and the dead-letter log of each partition but the first;
    `layout` is the document of `partitions.json`, None where there is none."""

    made_at: str
    version: str
    transaction: Part
    dead_letter: Part
    results: Part | None = None
    audit: Part | None = None
    partitions: tuple[tuple[Part, Part], ...] = ()
    layout: dict[str, object] | None = None

    @property
    def numbers(self) -> list[int]:
        """Those of its partitions but the first, as their directories say. There may be gaps:
        partitions that were of no use any more."""
        names = [Path(transaction.directory).name for transaction, _ in self.partitions]
        return [int(name[1:]) for name in names if name[1:].isascii() and name[1:].isdigit()]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its logs: the two that there always are, then those of the results and of the audit,
        where there are some, and of other partitions. Each lies in a directory of its name."""
        every = self.transaction, self.dead_letter, self.results, self.audit
        others = (part for both in self.partitions for part in both)
        return *(part for part in every if part is not None), *others

    def _document(self) -> dict[str, object]:
        found = {name: value for name, value in asdict(self).items() if value is not None}
        if self.partitions or self.layout is not None:
            form = _WITH_PARTITIONS if self.layout is None else _WITH_LAYOUT
            return {"format": form, **found}
        del found["partitions"]
        if self.audit is not None:
            return {"format": _WITH_AUDIT, **found}
        return {"format": FORMATS[0] if self.results is None else _WITH_RESULTS, **found}

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
                results=_part(found, "results") if number >= _WITH_RESULTS else None,
                audit=_part(found, "audit") if number >= _WITH_AUDIT else None,
                partitions=tuple(
                    (Part(**transaction), Part(**dead_letter))
                    for transaction, dead_letter in found.pop("partitions", ())
                ),
                layout=found.pop("layout") if number >= _WITH_LAYOUT else None,
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"{directory / MANIFEST}: not of a backup: {error!r}") from error


def _part(found: dict[str, Any], name: str) -> Part | None:
    """One of the logs that there may be or not; of format 2 there is one of the results."""
    given = found.pop(name, None)
    return None if given is None else Part(**given)

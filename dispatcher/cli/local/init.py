"""`dispatcher init`: a small application to begin with. The files of `template` are what it
writes, without the `.txt`: they are no modules of ours."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import typer

from dispatcher.cli.errors import BadUsage, CommandError

_SUFFIX: Final = ".txt"

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="Where it is to be; made where it is missing.")
]


def init(directory: Directory) -> None:
    """Write a small application of durable functions, that runs, into a directory."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise BadUsage(f"{directory} is not empty: name a directory that is, or a new one")
        for name, text in files().items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{directory}: {error.strerror}") from error
    if directory.resolve() != Path.cwd():
        print(f"cd {shlex.quote(str(directory))}")
    print("dispatcher run --session hello -- python app.py")
    print("\nREADME.md has what comes then.")


def files() -> dict[str, str]:
    """The files of the application, by name."""
    found = resources.files("dispatcher.cli.local") / "template"
    return {
        entry.name.removesuffix(_SUFFIX): entry.read_text("utf-8")
        for entry in found.iterdir()
        if entry.name.endswith(_SUFFIX)
    }

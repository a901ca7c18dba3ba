"""Where in the user's code something happened: every message names a file and a line of it.

The user's code is what is neither the standard library, nor an installed package, nor this SDK.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType

_LIBRARY = os.path.dirname(os.__file__) + os.sep
_SDK = str(Path(__file__).parents[1]) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of the user's code. `library` is the package that it called there, empty where it
    called none."""

    site: str
    function: str
    library: str = ""


def spot(frame: FrameType | None, end: CodeType) -> Spot | None:
    """Return the innermost line of the user's code, from `frame` outwards, before the frame that
    runs `end`. None where there is none."""
    inner: FrameType | None = None
    for outer in _outwards(frame, end):
        if is_of_user(outer.f_code.co_filename):
            return _spot(outer, inner)
        if not is_of_sdk(outer.f_code.co_filename):
            inner = outer
    return None


def user_of(frame: FrameType | None) -> Spot | None:
    """Return the line of the user's code that `frame` stands in, or that called the libraries it
    stands in. None where the SDK or an import is in between: then it is theirs."""
    inner: FrameType | None = None
    while frame is not None:
        filename = frame.f_code.co_filename
        if is_of_user(filename):
            return _spot(frame, inner)
        if filename.startswith((_SDK, "<frozen importlib")):
            return None
        inner, frame = frame, frame.f_back
    return None


def standing(awaitable: object) -> Spot | None:
    """Return the line of the user's code where a suspended coroutine waits, the innermost."""
    found: FrameType | None = None
    inner: FrameType | None = None
    for frame in _inwards(awaitable):
        filename = frame.f_code.co_filename
        if is_of_user(filename):
            found, inner = frame, None
        elif inner is None and not is_of_sdk(filename):
            inner = frame
    return _spot(found, inner) if found is not None else None


def library_of(awaitable: object) -> str:
    """Return the package whose coroutine this is, "anyio"; "a library" where it can't be seen."""
    frame = next(_inwards(awaitable), None)
    return (frame and _package(frame)) or "a library"


def raised_at(traceback: TracebackType | None) -> Spot | None:
    """Return the innermost line of the user's code that an exception came through."""
    found: Spot | None = None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_of_user(code.co_filename):
            found = Spot(site(code.co_filename, traceback.tb_lineno), code.co_name)
        traceback = traceback.tb_next
    return found


def site(filename: str, line: int) -> str:
    """Return "app.py:41": the file as seen from the working directory, or its name alone."""
    return f"{_shown(filename)}:{line}"


def lines(sites: list[str]) -> str:
    """Return the lines between these sites, "app.py:38-44", where all are in the last one's file;
    others are left out. A damaged record may name one that is no line: it is returned as it is."""
    file = sites[-1].rpartition(":")[0]
    parts = [each.rpartition(":") for each in sites]
    numbers = [int(line) for where, _, line in parts if where == file and _is_line(line)]
    if not numbers:
        return sites[-1]
    first, last = min(numbers), max(numbers)
    return f"{file}:{first}" if first == last else f"{file}:{first}-{last}"


def _is_line(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


@lru_cache(maxsize=4096)
def is_of_user(filename: str) -> bool:
    """Whether code of this file is the user's."""
    if filename.startswith((_LIBRARY, _SDK, "<frozen ")):
        return False
    return not any(part in filename for part in _INSTALLED)


@lru_cache(maxsize=4096)
def _shown(filename: str) -> str:
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.path.basename(filename)


def is_of_sdk(filename: str) -> bool:
    """Whether code of this file is the SDK's."""
    return filename.startswith(_SDK)


def _spot(frame: FrameType, inner: FrameType | None) -> Spot:
    code = frame.f_code
    library = _package(inner) if inner is not None else ""
    return Spot(site(code.co_filename, frame.f_lineno), code.co_name, library)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _outwards(frame: FrameType | None, end: CodeType) -> Iterator[FrameType]:
    while frame is not None and frame.f_code is not end:
        yield frame
        frame = frame.f_back


def _inwards(awaitable: object) -> Iterator[FrameType]:
    while awaitable is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if isinstance(frame, FrameType):
                yield frame
                break
        else:
            return
        awaitable = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)

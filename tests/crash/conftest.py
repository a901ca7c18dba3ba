"""File systems that are small enough to be filled.

An ext4 in a file where a loop device can be mounted, otherwise a tmpfs of that size (which is full
in the same way, though nothing on it is durable); tests are skipped where neither can be.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_MIB = 1024 * 1024


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB, which small messages fill in seconds."""
    yield from _disk(tmp_path, 8 * _MIB)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """One of 24 MiB."""
    yield from _disk(tmp_path, 24 * _MIB)


@pytest.fixture
def middling_disk(tmp_path: Path) -> Iterator[Path]:
    """One of 48 MiB: its log has segments of up to 16 MiB, and small ones at the end."""
    yield from _disk(tmp_path, 48 * _MIB)


def _disk(tmp_path: Path, size_bytes: int) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    problems = [
        _run("mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", str(image))
        or _run("mount", "-o", "loop", str(image), str(place))
    ]
    if problems[0]:
        size = f"size={size_bytes}"
        problems.append(_run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)))
    if problems[-1]:
        pytest.skip(f"nothing can be mounted here: {'; '.join(problems)}")
    try:
        yield place
    finally:
        problem = _run("umount", str(place))
        if problem:  # somebody still has a file open: let go of it when he closes it
            _run("umount", "--lazy", str(place))
    assert not problem, problem


def _run(*command: str) -> str:
    """Return what went wrong; nothing when it worked."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return str(error)
    return result.stderr.strip() or "failed" if result.returncode else ""

"""The image is built from locked versions, and they are ones that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
NEEDED = {
    "requirements.txt": PROJECT["project"]["dependencies"]
    + PROJECT["project"]["optional-dependencies"]["cluster"],
    "build.txt": PROJECT["build-system"]["requires"] + HOOK["requires"],
}


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package of a lock file."""
    text = (ROOT / "config" / "packaging" / name).read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+)==(\S+)(.*(?:\n +--hash=.*)*)", text, re.MULTILINE)
    return {package: (version, rest.count("--hash=sha256:")) for package, version, rest in entries}


@pytest.mark.parametrize("name", NEEDED)
def test_lock_file_has_a_version_in_range_for_each_dependency(name: str) -> None:
    """Whoever changes a range renews the lock: config/packaging/lock.sh."""
    versions = locked(name)
    for needed in map(Requirement, NEEDED[name]):
        version, _ = versions[needed.name]
        assert needed.specifier.contains(version), f"{needed} is locked at {version}"


@pytest.mark.parametrize("name", NEEDED)
def test_every_locked_package_has_its_hash(name: str) -> None:
    """pip --require-hashes refuses any other file."""
    assert len(locked(name)) >= len(NEEDED[name])
    assert all(hashes for _, hashes in locked(name).values())


def test_uvloop_is_left_out_where_it_does_not_exist() -> None:
    """Windows has none, and applications of the SDK are installed there: from the lock, too."""
    (needed,) = [
        each for each in map(Requirement, NEEDED["requirements.txt"]) if each.name == "uvloop"
    ]
    assert needed.marker is not None
    assert not needed.marker.evaluate({"sys_platform": "win32"})
    assert needed.marker.evaluate({"sys_platform": "linux"})
    text = (ROOT / "config" / "packaging" / "requirements.txt").read_text(encoding="utf-8")
    assert re.search(
        rf"^uvloop==\S+ ; {re.escape(str(needed.marker)).replace(chr(34), chr(39))} ",
        text,
        re.MULTILINE,
    )

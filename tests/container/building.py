"""The image, and what it is built from: a base and wheels, without a registry of images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.container.podman import IMAGE, LIMITS, Podman

ROOT = Path(__file__).parents[2]
LOCKS = [ROOT / "config/packaging" / name for name in ("build.txt", "requirements.txt")]
BASE = "localhost/dispatcher-check-base:1"

_MIRROR = "http://deb.debian.org/debian"
_PACKAGES = "python3,python3-venv,python3-dev,gcc,libc6-dev,python-is-python3,ca-certificates"


def make_base(podman: Podman, directory: Path) -> str:
    """Make a base image without a registry; return its name."""
    tar = directory / "base.tar"
    if not tar.exists():
        root = directory / "root"
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "stable", root, _MIRROR)
        _run("tar", "-C", root, "--exclude=./proc", "--exclude=./sys", "-cf", tar, ".")
        shutil.rmtree(root)
    podman.run("import", str(tar), BASE)
    return BASE


def python_of(podman: Podman, base: str) -> str:
    """Return the version of Python in an image, such as `3.13`."""
    show = "import sys; print('%d.%d' % sys.version_info[:2])"
    return podman.run("run", "--rm", "--network", "none", *LIMITS, base, "python", "-c", show)


def make_wheels(directory: Path, python: str) -> Path:
    """Download what the build installs, for this version of Python; return the directory."""
    wheels = directory / f"wheels-{python}"
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--dest", wheels, "--no-deps")
    for lock in LOCKS:
        _run(*pip, "--python-version", python, "--only-binary=:all:", "--requirement", lock)
    return wheels


def build(podman: Podman, base: str, wheels: Path) -> None:
    """Build the image, with nothing from the network."""
    podman.run(
        *("build", "--network", "host", "--format", "docker", "--layers=false"),
        *("--volume", f"{wheels.resolve()}:/wheels:ro", "--build-arg", f"BASE={base}"),
        *("--build-arg", "PIP_FIND_LINKS=/wheels", "--build-arg", "PIP_NO_INDEX=1"),
        *("--build-arg", "VERSION=0.0.0-check", "--tag", IMAGE, str(ROOT)),
    )


def _run(*command: str | Path) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command[0]}: {(ended.stdout + ended.stderr)[-2000:]}"

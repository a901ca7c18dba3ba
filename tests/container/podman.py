"""Podman in its plainest form: storage of its own (vfs), runc, no systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

IMAGE = "localhost/dispatcher-check"

# What podman sets otherwise may be more than this process may give away.
LIMITS = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")

# As in docker-compose.yml: nothing can be written but the volume.
SEALED = (
    *("--read-only", "--read-only-tmpfs=false"),
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
)


class Podman:
    """Podman with a storage of its own, gone at `close`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._options = [
            *("podman", "--root", str(directory / "store"), "--runroot", str(directory / "run")),
            *("--storage-driver", "vfs", "--runtime", "runc"),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        ]

    def run(self, *arguments: str, timeout_s: float = 600) -> str:
        """Run one command; return what it printed.

        Raises:
            AssertionError: it failed.
        """
        ended = self.attempt(*arguments, timeout_s=timeout_s)
        assert ended.returncode == 0, f"podman {' '.join(arguments)}: {ended.stderr[-2000:]}"
        return ended.stdout.strip()

    def attempt(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one command, however it ends."""
        return subprocess.run(
            [*self._options, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def close(self) -> None:
        """Remove every container and volume, and the storage."""
        self.attempt("rm", "--all", "--force", "--time", "0")
        self.attempt("volume", "rm", "--all", "--force")
        shutil.rmtree(self._directory, ignore_errors=True)

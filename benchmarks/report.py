"""Statistics of rounds, and how they are printed."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import procfs


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one quantity over the rounds."""

    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float]) -> Series:
        """Wrap measured values; there must be one at least."""
        return Series(tuple(values))

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def __format__(self, spec: str) -> str:
        """Median and, where there were several rounds, the range: `31.2 (29.8 to 32.0)`."""
        if len(self.values) == 1:
            return format(self.median, spec)
        return f"{self.median:{spec}} ({min(self.values):{spec}} to {max(self.values):{spec}})"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Units of y for each unit of x, by least squares; 0 where there are no two points."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of 100 values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def heading(directory: Path, *, detail: str) -> None:
    """Print what was called, on what machine, and what the round consists of."""
    module = Path(sys.argv[0]).stem
    print(f"$ python -m benchmarks.{module} {' '.join(sys.argv[1:])}".rstrip())
    print(f"  {_processor()}, {os.cpu_count()} CPUs, Linux {platform.release()}", end="")
    print(f", log on {procfs.file_system(directory)}")
    print(f"  Python {platform.python_version()}, uvloop {_version('uvloop')}, {_nginx_version()}")
    print(f"  {detail}", flush=True)


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    sys.stdout.flush()


def progress(text: str) -> None:
    """Say what is going on, on the error output: it is no result."""
    print(f"  .. {text}", file=sys.stderr, flush=True)


def mib(size_bytes: float) -> str:
    """Bytes as MiB."""
    return f"{size_bytes / 2**20:.1f} MiB"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _nginx_version() -> str:
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        return "no nginx"
    answer = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False)
    return answer.stderr.removeprefix("nginx version: ").strip()

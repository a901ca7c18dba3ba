"""Other Pythons of this machine, and how a module of ours is run by one that has no packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MINORS = (11, 12, 13, 14)
_BOOT = """
import runpy, sys, types
for name in ("dispatcher", "dispatcher.sdk", "dispatcher.testing"):  # without what they import
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@lru_cache(maxsize=1)
def interpreters() -> dict[str, Path]:
    """Return one Python of each minor version that is here, this one first: "3.12" and its path.

    They are looked for on PATH, then among pyenv's and uv's.
    """
    found = {f"3.{sys.version_info.minor}": Path(sys.executable)}
    for minor in MINORS:
        if f"3.{minor}" not in found:
            working = (path for path in _places(minor) if _works(path, minor))
            found.update((f"3.{minor}", path) for path in [next(working, None)] if path)
    return found


def run_module(python: Path, module: str, *args: str, hash_seed: str) -> str:
    """Run a module of ours that needs no package, and return what it printed, with its status."""
    root = str(ROOT)
    command = [str(python), "-W", "error", "-c", _BOOT, root, module, *args]
    environ = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=root)
    return f"{done.stdout}{done.stderr}status {done.returncode}"


def _places(minor: int) -> Iterator[Path]:
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    yield from sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"))
    yield from sorted(uv.glob(f"cpython-3.{minor}.*/bin/python"))


def _works(python: Path, minor: int) -> bool:
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False

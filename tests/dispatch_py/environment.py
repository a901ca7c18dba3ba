"""The environment that the real SDK runs in: its own, as it needs other versions of what we need.

Made once for a checkout, in half a minute. The tests make it where it is missing;
`python tests/dispatch_py/environment.py` makes it before.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = _ROOT / ".venv-dispatch-py"
_REQUIRED = ("dispatch-py[fastapi]==0.8.0", "http-message-signatures<1", "uvicorn")
_INSTALLED_S = 300
CAN_BE_MADE = sys.version_info < (3, 13)
"""dispatch-py 0.8.0 has a part in C, and wheels for Python 3.12 and older."""


def environment() -> Path:
    """Return the Python that has the SDK, which is installed where it is missing.

    Raises:
        subprocess.SubprocessError: it cannot be: pip has said why.
    """
    python = _ENVIRONMENT / "bin" / "python"
    ready = _ENVIRONMENT / "ready"
    with (_ROOT / ".venv-dispatch-py.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", _ENVIRONMENT], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--no-input", *_REQUIRED]
            subprocess.run(pip, check=True, timeout=_INSTALLED_S)
            ready.touch()
    return python


if __name__ == "__main__":
    print(environment() if CAN_BE_MADE else "dispatch-py has no wheel for this Python.")

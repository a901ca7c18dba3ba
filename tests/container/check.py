"""Build the image and live through a day of it: a crash, a restart, an orderly stop.

    python -m tests.container.check [--base IMAGE] [--wheels DIRECTORY] [--directory DIRECTORY]

Needs root, podman and runc; not part of `.ci/run`. Exit code 0: all is well, 77: it cannot run
here (it says why), 1: something is wrong.

Without `--base` a small Debian with Python is made with debootstrap, so that no registry of images
is needed. Without `--wheels` pip downloads what the build installs, for the Python of the base
image. Both are kept in `--directory` (default: a temporary one) and used again.

Everything listens on loopback, and storage and network are podman's plainest (vfs, host), so that
this also runs inside a container.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.container.building import build, make_base, make_wheels, python_of
from tests.container.podman import IMAGE, LIMITS, SEALED, Podman
from tests.container.running import Container, Destination

SKIPPED = 77
UID = 10001

_POLL_S = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything; return the exit code."""
    options = _parser().parse_args(arguments)
    if (reason := reason_to_skip(options)) is not None:
        print(f"skipped: {reason}")
        return SKIPPED
    with _directory(options.directory) as directory, _storage(directory) as podman:
        with _step("base image"):
            base = options.base or make_base(podman, directory)
        with _step("wheels"):
            wheels = options.wheels or make_wheels(directory, python_of(podman, base))
        with _step("build"):
            build(podman, base, wheels)
        for look in (check_commands, check_defaults):
            with _step(look.__doc__):
                look(podman)
        container, destination = Container(podman, "dispatcher-check"), Destination()
        for check in (check_start, check_crash, check_stop):
            with _step(check.__doc__):
                check(container, destination)
        with _step(check_log.__doc__):
            check_log(podman, container.name)
    print("all is well")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Build the image and check what it does.")
    parser.add_argument("--base", help="base image that podman has or can pull")
    parser.add_argument("--directory", type=Path, help="where the base and the wheels are kept")
    parser.add_argument("--wheels", type=Path, help="directory with every wheel that is needed")
    return parser


def reason_to_skip(options: argparse.Namespace) -> str | None:
    """Why this cannot run here; None when it can."""
    if os.geteuid() != 0:
        return "it needs to be root, for podman with plain storage and for debootstrap"
    needed = ["podman", "runc", *([] if options.base else ["debootstrap"])]
    missing = [name for name in needed if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def check_commands(podman: Podman) -> None:
    """Other commands than `serve` can be given, and a wrong setting ends with code 2."""
    run = ("run", "--rm", "--network", "none", "--no-healthcheck", *LIMITS)
    shown = podman.run(*run, IMAGE, "config", "check")
    assert "TRANSACTION_LOG=/var/lib/dispatcher/transaction.log" in shown
    assert "API_LISTEN=127.0.0.1:8081" in shown
    opened = podman.attempt(*run, "--env", "API_LISTEN=:8081", IMAGE)
    assert opened.returncode == 2, opened.stderr
    assert "API_KEYS" in opened.stderr


def check_defaults(podman: Podman) -> None:
    """With no settings at all it listens on port 80, where everybody may, as in Docker."""
    name = "dispatcher-check-defaults"
    podman.run(
        *("run", "--detach", "--name", name, "--network", "none", "--health-interval", "disable"),
        *("--sysctl", "net.ipv4.ip_unprivileged_port_start=0", *SEALED, *LIMITS),
        *("--volume", f"{name}:/var/lib/dispatcher", IMAGE),
    )
    eventually(lambda: podman.attempt("healthcheck", "run", name).returncode == 0)
    podman.run("stop", "--time", "20", name)
    assert podman.run("inspect", "--format", "{{.State.ExitCode}}", name) == "0"


def check_start(container: Container, destination: Destination) -> None:
    """It is healthy, nobody special, without capabilities, and delivers."""
    eventually(container.is_healthy)
    status = Path(f"/proc/{container.pid()}/status").read_text(encoding="utf-8")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(UID)] * 4, fields["Uid"]
    assert int(fields["CapEff"], 16) == 0, fields["CapEff"]
    assert fields["NSpid"].split()[-1] == "1", fields["NSpid"]
    number = container.accept(destination)
    eventually(lambda: destination.statuses(number) == [200])


def check_crash(container: Container, destination: Destination) -> None:
    """Killed with a message that waits, it is restarted by the policy and delivers it."""
    destination.status = 503
    number = container.accept(destination)
    eventually(lambda: destination.statuses(number))
    killed = container.pid()
    assert killed > 1
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: container.pid() not in (0, killed))
    destination.status = 200
    eventually(lambda: 200 in destination.statuses(number))
    eventually(container.is_healthy)
    assert container.state()["RestartCount"] == 1
    assert container.events("server.ready")[-1]["pending"] == 1


def check_stop(container: Container, destination: Destination) -> None:
    """SIGTERM reaches the server: what is in flight ends and is settled, and it exits 0."""
    destination.hold.clear()
    number = container.accept(destination)
    eventually(lambda: destination.statuses(number))
    threading.Timer(1.0, destination.hold.set).start()
    assert container.stop() == 0
    stopped = container.events("server.stopped")[-1]
    assert (stopped["exit_code"], stopped["pending"]) == (0, 0), stopped
    container.start()
    eventually(container.is_healthy)
    assert container.events("server.ready")[-1]["pending"] == 0
    assert destination.statuses(number) == [200]
    assert container.stop() == 0
    assert not container.is_healthy()


def check_log(podman: Podman, name: str) -> None:
    """A container that has the volume can look at the log that another one left."""
    mounted = ("--volume", f"{name}:/var/lib/dispatcher")
    run = ("run", "--rm", "--network", "none", "--no-healthcheck", *LIMITS, *SEALED, *mounted)
    verified = podman.attempt(*run, IMAGE, "log", "verify")
    assert verified.returncode == 0, verified.stderr
    assert "/var/lib/dispatcher/transaction.log" in verified.stdout, verified.stdout


def eventually(what: Callable[[], Any], *, timeout_s: float = 30.0) -> None:
    """Ask until it is true.

    Raises:
        AssertionError: it did not become true in time.
    """
    end_s = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end_s, f"still {found!r} after {timeout_s} s"
        time.sleep(_POLL_S)


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="dispatcher-container-") as made:
        yield Path(made)


@contextmanager
def _storage(directory: Path) -> Iterator[Podman]:
    podman = Podman(directory / "podman")
    try:
        yield podman
    finally:
        podman.close()


@contextmanager
def _step(what: str | None) -> Iterator[None]:
    began_s = time.monotonic()
    print(f"... {what}", flush=True)
    yield
    print(f"ok  {what} ({time.monotonic() - began_s:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())

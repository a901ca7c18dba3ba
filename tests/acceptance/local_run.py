"""`dispatcher run` as a process, and what it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from tests.acceptance.running import ROOT

SECONDS = 30.0


class Local:
    """A `dispatcher run`. `text` is what it printed so far, both streams in one."""

    def __init__(self, place: Path, options: list[str], command: list[str]) -> None:
        self.text = ""
        self.temporary = place / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self._has_more = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", "run", *options, "--", *command],
            cwd=place,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary)}
            | {"XDG_STATE_HOME": str(place / "state"), "CALL_RETRY_DELAY": "20"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until what it printed matches."""
        deadline = time.monotonic() + SECONDS
        with self._has_more:
            while not (found := re.search(pattern, self.text, re.M)):
                assert self._has_more.wait(deadline - time.monotonic()), self.text
                assert self._reader.is_alive() or re.search(pattern, self.text, re.M), self.text
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: not to what it has started."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end. Returns its exit code."""
        code = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def own_server(self) -> tuple[str, str]:
        """Where its server is, and the key for it."""
        path = self.until(r"In other terminals: \. (\S+)$")[1]
        exported = re.findall(r"^export (DISPATCHER_\w+)=(\S+)$", Path(path).read_text(), re.M)
        return dict(exported)["DISPATCHER_API"], dict(exported)["DISPATCHER_KEY"]

    def processes(self) -> list[int]:
        """What runs beside it, its server among them."""
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [int(number) for number in listed.split()]

    def server(self) -> int:
        """The process of its server."""
        (found,) = (
            number
            for number in self.processes()
            if b"dispatcher.cli.embedded" in Path(f"/proc/{number}/cmdline").read_bytes()
        )
        return found

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                with self._has_more:
                    self.text += line
                    self._has_more.notify_all()
        with self._has_more:
            self._has_more.notify_all()

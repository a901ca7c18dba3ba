"""A server whose rules are changed while it runs."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.acceptance.receiver import eventually
from tests.acceptance.served import Line, ServerProcess


class Ruled:
    """A server with `DISPATCHER_CONFIG=rules.toml` in `directory`; rules are written there, and put
    into force with SIGHUP."""

    def __init__(self, directory: Path, server: ServerProcess) -> None:
        self.directory = directory
        self.server = server

    def rule(self, match: str, *lines: str) -> None:
        """Have one rule and no other."""
        text = "\n".join(["[[destination]]", f'match = "{match}"', *lines])
        self.write("rules.toml", text.encode())
        self.reload("settings.reloaded")

    def write(self, name: str, content: bytes) -> Path:
        """Put a file beside it."""
        path = self.directory / name
        path.write_bytes(content)
        return path

    def reload(self, told: str) -> Line:
        """Send SIGHUP, and wait for the next event of this name."""
        before = len(self.server.events(told))
        self.server.signal(signal.SIGHUP)
        eventually(lambda: len(self.server.events(told)) > before)
        return self.server.events(told)[-1]

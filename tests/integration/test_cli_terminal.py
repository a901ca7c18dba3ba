"""What takes a terminal as a whole: signals while it is drawn on."""

from __future__ import annotations

import os
import pty
import select
import signal
import threading

import pytest

from dispatcher.cli.terminal import Terminal
from tests.integration.cli_terminal import ENTERED, LEFT

LINES = ["x" * 60_000] * 4
"""Much more than a terminal takes that nobody reads."""


def test_stop_in_the_middle_of_a_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal is given back and taken again, though what was drawn is not out yet."""
    # Else the tests themselves would stop.
    monkeypatch.setattr(signal, "raise_signal", lambda number: None)
    reading, writing = pty.openpty()
    shown = bytearray()

    def stop_and_read() -> None:
        assert select.select([reading], [], [], 60)[0]  # so it is within the drawing
        os.kill(os.getpid(), signal.SIGTSTP)
        while shown.count(LEFT.encode()) < 2 and select.select([reading], [], [], 60)[0]:
            shown.extend(os.read(reading, 65_536))

    reader = threading.Thread(target=stop_and_read)
    with open(writing, "w") as stream:
        with Terminal(stream) as terminal:
            os.read(reading, 65_536)  # what it begins with
            reader.start()
            terminal.draw(LINES)
            assert terminal.needs_drawing
        reader.join(60)
    os.close(reading)
    assert shown.count(ENTERED.encode()) == 1
    assert shown.endswith(LEFT.encode())

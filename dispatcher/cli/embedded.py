"""The server of `dispatcher run` (`local`), in a process of its own that ends when the run does,
however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def serve(parent: int) -> None:
    """Run the server, as `dispatcher serve` does, as long as the process `parent` lives."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it ended before we could ask to be told of that
        return
    from dispatcher.cli.main import main

    main(["serve"])

"""`dispatcher serve`: read the settings and run the server until it is told to stop."""

from __future__ import annotations

import os

from dispatcher import node
from dispatcher.settings import Settings


def serve() -> int:
    """Run the server. Returns its exit code.

    Raises:
        DispatcherError: the settings are wrong, or the server cannot start.
    """
    return node.run(Settings.load(os.environ))

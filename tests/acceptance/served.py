"""What the tests of this folder talk to: the one server, or with ACCEPTANCE_NODES=3 a cluster of so
many nodes (2 or 3) in its place.

Tests take `ServerProcess` from here, and need not know which it is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from dispatcher.testing.process import Line

NODES: Final = int(os.environ.get("ACCEPTANCE_NODES") or 0)

if TYPE_CHECKING or not NODES:
    from dispatcher.testing.process import ServerProcess
else:
    from tests.acceptance.clustered import ClusteredServer as ServerProcess

    ServerProcess.nodes = NODES

__all__ = ["NODES", "Line", "ServerProcess"]

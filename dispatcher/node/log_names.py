"""What the logs of a node are called where it is told how they are: in metrics, in what is said of
disks, and in the records of a cluster's partitions (`cluster.holder.Ends`). Those records outlive
the program: a name never changes.
"""

from __future__ import annotations

from typing import Final

TRANSACTION: Final = "transaction"
DEAD_LETTER: Final = "dead_letter"
"""Both: of each partition."""
RESULTS: Final = "results"
AUDIT: Final = "audit"
"""Both: of the desk, so of partition 0."""

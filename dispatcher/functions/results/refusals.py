"""Why a result is not taken, as the function service is told."""

from __future__ import annotations

from typing import Final

from dispatcher.errors import Refusal

RESULTS_BEHIND: Final = Refusal(
    503,
    "disk_full",
    "More results wait for space on the disk than may be held in memory. Try again later.",
    retry_after_s=1,
)
"""Nothing is lost: the call stays in the transaction log, with its result, until it is tried
again."""

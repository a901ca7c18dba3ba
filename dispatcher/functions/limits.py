"""Limits of calls that no setting changes. Each has an error that names it."""

from __future__ import annotations

from typing import Final

MOST_RUN_BYTES: Final = 16_000_000
"""Of one request to an application, and of its answer: dispatch-py refuses more."""
ROOM_BYTES: Final = 8_192
"""Of a request for a run, for what is in it beside an input, or a state and results: names, ids and
times, which have limits of their own."""
MOST_PAYLOAD_BYTES: Final = MOST_RUN_BYTES - ROOM_BYTES
"""Of an input, a state or a result: what can still be sent in one request."""
RESUME_BYTES: Final = 15_000_000
"""A resume delivers results up to this, its state included, and one in any case."""
RESULT_BYTES: Final = 64
"""What a result has around its bytes when it is delivered: the child's id, the correlation."""

MOST_KEPT: Final = 10_000
"""Results that one call keeps, and"""
MOST_KEPT_BYTES: Final = 256_000_000
"""what they have together: they are copied forward when the log is compacted."""
RECALLED_BYTES: Final = 4_000_000
"""Of results that are asked for, so many are answered at once, and one in any case."""

MOST_DISPATCHED: Final = 1_000
"""Calls in one Dispatch."""
MOST_POLLED: Final = 10_000
"""Calls, and results, of one poll."""
MOST_TIMEOUT_MS: Final = 86_400_000
"""Of one run, where the call says so."""
MOST_FETCHED_MS: Final = 30_000
"""Of one run that is fetched: clients of the bridge wait no longer for their application."""
MOST_DEPTH: Final = 100
"""Of a call below its root."""
CLEANUP_US: Final = 30_000_000
"""For which a call that is asked to end may clean up."""
MOST_RESTARTS: Final = 3
"""That got no further than the one before."""

MOST_FUNCTION_CHARS: Final = 1_000
MOST_ENDPOINT_CHARS: Final = 2_000
MOST_VERSION_CHARS: Final = 255
MOST_NAME_CHARS: Final = 255
"""Of a promise, a channel, a session of the bridge."""

"""The loop of the durable body that the code here runs in."""

from __future__ import annotations

from dispatcher.sdk.replay.loop import Loop, running

__all__ = ["Loop", "is_silent", "running"]


def is_silent(loop: Loop | None) -> bool:
    """Whether what was made in `loop` says nothing: it is replayed, or has been evicted."""
    return loop is not None and (loop.is_closing or loop.is_replaying)

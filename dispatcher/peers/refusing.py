"""Refusals, and failures, as the payload of a frame. Pure.

JSON, so that a field more says nothing to who does not know it. A process tells the other one no
more of an exception than that there was one: its own log has the rest.
"""

from __future__ import annotations

import json

from dispatcher.errors import DispatcherError, Refusal, Refused
from dispatcher.peers.errors import Failed

_FAILED = "failed"


def encode_refusal(refusal: Refusal) -> bytes:
    """As a payload."""
    said = {
        "status": refusal.status,
        "slug": refusal.slug,
        "message": refusal.message,
        "retry_after_s": refusal.retry_after_s,
        "phrase": refusal.phrase,
        "is_silent": refusal.is_silent,
    }
    return json.dumps(said).encode("ascii")


def encode_failure(text: str) -> bytes:
    """What was no refusal, as a payload."""
    return json.dumps({_FAILED: text}).encode("ascii")


def read_refused(payload: bytes) -> DispatcherError:
    """What a payload says: `Refused`, or `Failed`; also where it says nothing that is known."""
    try:
        said = json.loads(payload)
        if _FAILED in said:
            return Failed(str(said[_FAILED]))
        retry_after_s = said.get("retry_after_s")
        refusal = Refusal(
            int(said["status"]),
            str(said["slug"]),
            str(said["message"]),
            retry_after_s=None if retry_after_s is None else int(retry_after_s),
            phrase=str(said.get("phrase", "")),
            is_silent=bool(said.get("is_silent", False)),
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return Failed("It says that it failed, and nothing more that this process knows.")
    return Refused(refusal)

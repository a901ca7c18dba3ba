"""Whether a caller waits for a job: `Prefer: respond-async` (RFC 7240, sections 4.1 and 4.3)."""

from __future__ import annotations

from multidict import CIMultiDictProxy


def patience_s(headers: CIMultiDictProxy[str]) -> float | None:
    """For how many seconds a caller waits for the end of a job; None: for as long as it takes.

    `respond-async` says not at all, and `respond-async, wait=2` for two seconds. What else is
    preferred, and what cannot be read, is ignored, as the RFC has it.
    """
    preferred: dict[str, str] = {}
    for field in headers.getall("Prefer", []):
        for one in field.split(","):
            name, _, value = one.partition(";")[0].partition("=")
            preferred.setdefault(name.strip().lower(), value.strip().strip('"'))
    if "respond-async" not in preferred:
        return None
    wait = preferred.get("wait", "")
    return float(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 7 else 0.0

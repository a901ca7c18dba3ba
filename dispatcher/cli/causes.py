"""What an attempt came to, in one word: `http_503`, or the slug of a failure such as `timeout`.

The same word stands in `last_error` of the API and in what commands print, and is what `--error`
takes.
"""

from __future__ import annotations


def cause(status: int | None, error: str | None) -> str | None:
    """Return the word for a status, an error, or both where a response broke off: that is what went
    wrong then. None where there was no attempt."""
    if error is not None:
        return error
    return None if status is None else f"http_{status}"

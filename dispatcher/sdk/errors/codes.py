"""What an HTTP status means when a function asked a service and this was the answer."""

from __future__ import annotations

from dispatcher.protocol.statuses import Status, status_of_http


def status_of_code(code: int) -> Status:
    """Return the status of a run that ends with this answer: OK for 2xx; other answers that say
    nothing about trying again, such as redirects, are PERMANENT_ERROR."""
    if 200 <= code <= 299:
        return Status.OK
    return status_of_http(code) if 400 <= code <= 599 else Status.PERMANENT_ERROR

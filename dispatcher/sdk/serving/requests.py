"""Requests, before they are read: which have a body that is looked at, and how long it may be.

A run is a POST with a Content-Length, of 16 MB at most. What is refused here is never run again: a
server takes these answers as final.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.signing import RUN_PATH
from dispatcher.sdk.config import Config
from dispatcher.sdk.endpoint import MOST_BYTES, Answer

SAFE_IN_PATHS: Final = "/:@!$&'()*+,;=~-._"
"""What stands in paths as it is (RFC 3986, 3.3), where one has to be encoded anew."""
SERVICE: Final = RUN_PATH.rpartition("/")[0]


def is_run(method: str, path: str) -> bool:
    """Say whether a request is for a run; others are answered without their body. `path` is
    that of the request line, with or without its query."""
    return method == "POST" and path.partition("?")[0].endswith(RUN_PATH)


def body_size(headers: Sequence[tuple[str, str]]) -> int | Answer:
    """Return how many bytes the body of a run has, or the answer that refuses it."""
    values = [value.strip() for name, value in headers if name.lower() == "content-length"]
    if len(values) != 1 or not (values[0].isascii() and values[0].isdigit()):
        return _refused(400, Code.INVALID_ARGUMENT, "A run has a Content-Length; send one.")
    if len(values[0]) > 12 or int(values[0]) > MOST_BYTES:
        return _refused(
            413,
            Code.RESOURCE_EXHAUSTED,
            f"The body has {values[0][:20]} bytes, and {MOST_BYTES} are the most that is read.",
        )
    return int(values[0])


def prefix_of(config: Config, path: str | None) -> str:
    """Return what stands before the service in paths: that of the endpoint's URL, unless `path`
    says another, where something in front takes a part of it away."""
    if path is None:
        path = urlsplit(config.endpoint_url or "").path
        if (config.endpoint_url or "").startswith("bridge:"):
            path = ""
    return path.rstrip("/")


def _refused(status: int, code: Code, message: str) -> Answer:
    error = ConnectError(code, message)
    return Answer(status, [("Content-Type", "application/json")], error.body())

"""A notification as it is sent: the request, with its text for Slack or as JSON.

The JSON has version 1. Fields may be added; one that changes its meaning makes another version.
"""

from __future__ import annotations

import json
from typing import Final

from dispatcher.core.callbacks import place_of
from dispatcher.core.instants import rfc3339
from dispatcher.core.message import Message
from dispatcher.core.rules.notify import Format, Notify
from dispatcher.core.terms import Terms
from dispatcher.node.notifying.happening import Happening, State
from dispatcher.node.notifying.limiter import Told

LABEL: Final = "notify"
VERSION: Final = 1
_SIGNS: Final = {
    State.HAPPENED: ":warning:",
    State.BEGAN: ":red_circle:",
    State.RESOLVED: ":white_check_mark:",
}
_SLACK: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""What Slack would take for its own marks: https://docs.slack.dev/messaging/formatting-message-text"""


def message_of(notify: Notify, told: Told, instance: str, now_us: int) -> Message:
    """The message that tells it, accepted at `now_us` (since the epoch)."""
    place = place_of(notify.url.value.decode("ascii"))
    body = body_of(notify.format, told, instance)
    lines = b"".join(b"%b: %b\r\n" % header for header in headers_of(notify))
    head = b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n" % (
        place.target,
        place.host_line,
        lines,
        len(body),
    )
    message = Message(place.destination, head, body, timeout_ms=0, accepted_at=max(now_us, 0))
    message.terms = Terms(label=LABEL)
    return message


def headers_of(notify: Notify) -> list[tuple[bytes, bytes]]:
    """Its own, and what the body is, unless they say so."""
    own = [(header.name.encode("ascii"), header.value.value) for header in notify.headers]
    if any(name.lower() == b"content-type" for name, _ in own):
        return own
    return [(b"Content-Type", b"application/json"), *own]


def body_of(format_: Format, told: Told, instance: str) -> bytes:
    """The body, in UTF-8."""
    shown = _slack(told, instance) if format_ is Format.SLACK else _json(told, instance)
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _slack(told: Told, instance: str) -> dict[str, object]:
    happening = told.happening
    more = f" And {told.left_out} more." if told.left_out else ""
    text = f"{happening.text}{more} ({instance})".translate(_SLACK)
    return {"text": f"{_SIGNS[happening.state]} {text}"}


def _json(told: Told, instance: str) -> dict[str, object]:
    happening = told.happening
    return {
        "version": VERSION,
        "kind": happening.kind.value,
        "state": happening.state.value,
        "at": rfc3339(happening.at_us),
        "instance": instance,
        "text": happening.text,
        "left_out": told.left_out,
        "details": _details(happening),
    }


def _details(happening: Happening) -> dict[str, object]:
    """Instants as everywhere else in JSON."""
    return {
        name.removesuffix("_us") if name.endswith("_us") else name: rfc3339(value)
        if name.endswith("_us") and isinstance(value, int)
        else value
        for name, value in happening.details.items()
    }

"""How a message that waits stands, in a word for people, and what that is due to.

`ready` and `scheduled` are what the API and `--state` call it; where its destination, or a key of
its own, keeps it waiting, that is what a person wants to know. The words are those of destinations.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from dispatcher.cli.client import Json

_WORDS: Final = MappingProxyType(
    {
        "destination_held": "held",
        "breaker_open": "backs off",
        "retry_after": "backs off",
        "lacking": "backs off",
        "rate_reached": "rate",
        "order_key": "order key",
        "flow_key": "flow key",
    }
)
"""By the reason for which it waits. Of others the state says enough."""


def standing(message: Json) -> str | None:
    """Return its state, or what its destination or a key of it does in the way of it."""
    reason = message.get("reason")
    if reason == "breaker_open" and message.get("until") is None:
        return "probing"  # another message is on its way there, and decides
    state: str | None = message.get("state")
    return _WORDS.get(reason or "", state)


def last_error(message: Json) -> str | None:
    """Return what its last attempt came to; of one that was never tried, as its destination fails,
    what that of another message did."""
    found: str | None = message.get("last_error") or message.get("destination_error")
    return found


def due(message: Json) -> str | None:
    """Return when its next attempt is made at the earliest, as far as that is known."""
    if message.get("reason") == "destination_held":
        return None
    found: str | None = message.get("next_attempt_at") or message.get("until")
    return found

"""Why something can't be done to a message any more, as whoever asked is told."""

from __future__ import annotations

from typing import Final, assert_never

from dispatcher.api.errors import ApiError
from dispatcher.queue.admin.surface import Cancelled

UNKNOWN: Final = {
    404: "It never was, or was delivered long ago or before the last start: `message_unknown`."
}
REFUSALS: Final = {
    **UNKNOWN,
    409: "It does not wait any more: `message_in_flight`, `message_delivered`, `message_dead`.",
}


def check(outcome: Cancelled, message_id: str, *, dead: str) -> None:
    """Go on where something was done to a message that waits; `dead` says what can be done where it
    is a dead letter.

    Raises:
        ApiError: 404 or 409, it was not.
    """
    match outcome:
        case Cancelled.DONE:
            return
        case Cancelled.UNKNOWN:
            raise unknown(message_id)
        case Cancelled.IN_FLIGHT:
            raise ApiError(
                409,
                "message_in_flight",
                f"An attempt of message {message_id} is under way; ask again when that has failed.",
            )
        case Cancelled.DELIVERED:
            raise ApiError(409, "message_delivered", f"Message {message_id} was delivered.")
        case Cancelled.DEAD:
            raise ApiError(409, "message_dead", f"Message {message_id} is a dead letter; {dead}.")
        case _:
            assert_never(outcome)


def unknown(message_id: str) -> ApiError:
    """There is no message with this id."""
    return ApiError(
        404,
        "message_unknown",
        f"No message {message_id} is known: it never was, was cancelled or purged, or was "
        "delivered long ago or before the server's last start. Calls have commands of their own, "
        "`dispatcher calls`, and paths under /v1/calls.",
    )

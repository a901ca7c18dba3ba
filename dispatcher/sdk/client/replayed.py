"""What asks the server must not be in a durable function, but in a step of it."""

from __future__ import annotations

from dispatcher.sdk.functions import durable


def refuse_replayed(what: str, instead: str) -> None:
    """Raise RuntimeError, which says what to write, where a durable function is about to ask."""
    if durable.running() is not None:
        raise RuntimeError(
            f"{what} would ask the server again in each replay of a durable function: write "
            f"{instead}."
        )

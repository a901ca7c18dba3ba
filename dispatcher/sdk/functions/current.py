"""The call that the code here runs for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dispatcher.sdk.functions import context, durable
from dispatcher.sdk.functions.instants import instant
from dispatcher.sdk.replay.model import Told


@dataclass(frozen=True, slots=True)
class Current:
    """A call, as `dispatch.current()` tells it.

    `id` is its dispatch id, `parent_id` its caller's ("" at the top), `root_id` that of the call at
    the top (its own there). `expires_at` is None where nothing is known. `version` is what its
    caller asked for.
    """

    id: str
    function: str
    parent_id: str
    root_id: str
    created_at: datetime
    expires_at: datetime | None
    version: str
    is_durable: bool
    is_replaying: bool


def current() -> Current:
    """Return the call that the code here runs for.

    Raises:
        RuntimeError: the code here runs for no call.
    """
    loop = durable.running()
    here = context.inside.get()
    if loop is not None:
        return _of(loop.told, is_durable=True, is_replaying=loop.is_replaying)
    if here is not None:
        return _of(here.told, is_durable=False, is_replaying=False)
    raise RuntimeError(
        "dispatch.current() is for the code of a function while it is called: nothing is called "
        "here."
    )


def _of(told: Told, *, is_durable: bool, is_replaying: bool) -> Current:
    return Current(
        id=told.id,
        function=told.function,
        parent_id=told.parent_id,
        root_id=told.root_id or told.id,
        created_at=instant(told.created_us),
        expires_at=instant(told.expires_us) if told.expires_us else None,
        version=told.version,
        is_durable=is_durable,
        is_replaying=is_replaying,
    )

"""Hears from the session's server what happens to calls, in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import Final

from dispatcher.cli import sse
from dispatcher.cli.client import Api
from dispatcher.cli.errors import CommandError
from dispatcher.cli.event_lines import CALL
from dispatcher.cli.local.happenings import CallMoved, CallsMissed, Happenings, Watching

_PAUSE_S: Final = 0.2


def watch(api: Api, happenings: Happenings) -> None:
    """Put what happens to calls into the queue, from now on. Returns at once."""
    threading.Thread(target=_watch, args=(api, happenings), daemon=True).start()


def _watch(api: Api, happenings: Happenings) -> None:
    """The server is beside us: a connection that breaks is made again until the run is over."""
    while True:
        try:
            with api.stream("/v1/events", silence_s=sse.SILENCE_SECONDS) as lines:
                happenings.put(Watching())
                for event in sse.parse(lines):
                    _tell(event, happenings)
        except CommandError:
            pass
        time.sleep(_PAUSE_S)
        happenings.put(CallsMissed(None))


def _tell(event: sse.Event | sse.Dropped, happenings: Happenings) -> None:
    if isinstance(event, sse.Dropped):
        happenings.put(CallsMissed(event.count))
    elif event.kind.startswith(CALL):
        happenings.put(CallMoved(event.kind.removeprefix(CALL), event.fields))

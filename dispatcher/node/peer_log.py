"""What happens to the links of this process, as lines of the log."""

from __future__ import annotations

from dispatcher.peers.handshake import Reason
from dispatcher.telemetry.events import Events


class PeerLog:
    """Writes events for links (`peers.links.Observer`, `peers.gate.GateObserver`)."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def peer_connected(self, process: int) -> None:
        """See `links.Observer`."""
        self._events.peer_connected(peer=process)

    def peer_lost(self, process: int, reason: str) -> None:
        """See `links.Observer`."""
        self._events.peer_lost(peer=process, reason=reason)

    def peer_misused(self, process: int | None, reason: str) -> None:
        """See `links.Observer`."""
        self._events.peer_misused(peer=process, reason=reason)

    def handshake_failed(self, address: str, reason: Reason, detail: str, unheard: int) -> None:
        """See `gate.GateObserver`."""
        self._events.peer_refused(
            address=address, reason=reason.value, detail=detail, unheard=unheard
        )

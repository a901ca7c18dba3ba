"""What may go wrong between processes. What counts is whether the other one may have done it."""

from __future__ import annotations

from dispatcher.errors import DispatcherError


class LinkError(DispatcherError):
    """Base of what a link raises."""

    slug = "peer_failed"


class NotConnected(LinkError):
    """The other process was not asked: certainly nothing was done."""

    slug = "peer_not_connected"


class Broken(LinkError):
    """The other process may have been asked, and its answer will never come: nobody knows whether
    it was done."""

    slug = "peer_lost"


class Failed(LinkError):
    """The other process says that it failed; its log says why."""


class LinkMisused(LinkError):
    """What the other side sends is not what this program, in whatever version, would send."""

    slug = "peer_misused"

"""How a command ends when it cannot do what it was asked: each with an exit code of its own.

0 to 5 mean what they mean for the server (docs/errors.md); 6 to 9 are about the API it talks to.
"""

from __future__ import annotations

from typing import ClassVar

from dispatcher.errors import DispatcherError


class CommandError(DispatcherError):
    """The server answered in a way that no other exit code stands for."""

    slug: ClassVar[str] = "command_failed"


class BadUsage(CommandError):
    """What was typed cannot be meant, or the API refused its form."""

    slug = "usage_invalid"
    exit_code = 2


class NotFound(CommandError):
    """There is no such message or dead letter."""

    slug = "not_found"
    exit_code = 6


class Unreachable(CommandError):
    """No connection, or it broke before the answer was there: what was asked may be done or not."""

    slug = "api_unreachable"
    exit_code = 7


class NotConnected(Unreachable):
    """Nobody is there: nothing was asked, so nothing of it is done."""


class KeyRefused(CommandError):
    """The key is missing or wrong."""

    slug = "key_refused"
    exit_code = 8


class RefusedNow(CommandError):
    """The state of the message or of the server does not allow it now (409, 429, 503)."""

    slug = "refused_now"
    exit_code = 9


class Moved(RefusedNow):
    """What was asked for is on its way to another process or node."""


INTERRUPTED = 130
"""128 + SIGINT, as a shell says it."""

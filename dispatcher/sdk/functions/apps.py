"""Which application a call from outside goes through.

In this order: the one that the code here runs for (`context.app`), the one that the function was
given to, the one that was made last.
"""

from __future__ import annotations

from typing import Final

from dispatcher.sdk.functions import context
from dispatcher.sdk.functions.ports import App

_made: Final[list[App]] = []


def made(app: App) -> None:
    """Make `app` the one that is used where nothing else says which."""
    _made[:] = [app]


def gone(app: App) -> None:
    """Forget `app`: it has been closed."""
    if app in _made:
        _made.remove(app)


def find(own: App | None) -> App | None:
    """Return the application that a call from here goes through, None where there is none.

    `own`: the one that the function was given to.
    """
    return context.app.get() or own or (_made[0] if _made else None)

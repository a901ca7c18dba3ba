"""What a program prints that ends by a wrong setting, or because its server can't be asked.

The mistake is none of its code, so a traceback would only hide the sentence that says what to do:

    app.py:21: DISPATCH_API_URL is 'localhost': write the URL of the server's API, such as …

It is Python's `sys.excepthook` that prints it: who catches such an error, or has a hook of another
kind, sees nothing of this.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final

from dispatcher.errors import ConfigError
from dispatcher.sdk.client.errors import KeyRefused, Unreachable
from dispatcher.sdk.replay.where import raised_at

_BY_A_SENTENCE: Final = (ConfigError, KeyRefused, Unreachable)


def install() -> None:
    """Have these errors printed so, where nothing else prints errors than Python itself."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _told


def _told(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not isinstance(error, _BY_A_SENTENCE):
        sys.__excepthook__(kind, error, traceback)
        return
    at = raised_at(traceback)
    print(f"{at.site}: {error}" if at is not None else error, file=sys.stderr)

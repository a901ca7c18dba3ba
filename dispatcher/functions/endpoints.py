"""Kinds of endpoints, by how they begin.

http://HOST, https://HOST   an application that runs are sent to
bridge://SESSION            one that fetches its runs
promise:NAME, channel:NAME  no application: such calls are completed from outside
"""

from __future__ import annotations

from typing import Final

WEB: Final = ("http://", "https://")
BRIDGE: Final = "bridge://"
PROMISE: Final = "promise:"
CHANNEL: Final = "channel:"
OUTSIDE: Final = (PROMISE, CHANNEL)

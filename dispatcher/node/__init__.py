"""The composition root: builds the parts of a server, starts and stops them in order.

`run` is what the command line calls. Everything the parts need to know about each other is said
here and nowhere else.
"""

from __future__ import annotations

from dispatcher.node.process import run

__all__ = ["run"]

"""The trace that calls are dispatched in: W3C Trace Context, https://www.w3.org/TR/trace-context

It is kept as the header lines that each run of them, and of all that they call, has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_PARENT: Final = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,200})?"
)
_STATE: Final = re.compile("[ -~]{1,512}")


def trace_lines(parents: Sequence[str], states: Sequence[str]) -> str:
    """The lines of a trace, each with its end; "" without one.

    Args:
        parents: the values of `traceparent`. More than one, or one that is none, is no trace (W3C
            Trace Context, 3.2.1).
        states: the values of `tracestate`, which are one list in their order; left out where it is
            longer than 512 characters, and nobody has to pass it on.
    """
    if len(parents) != 1 or not _PARENT.fullmatch(parent := parents[0].strip(" \t")):
        return ""
    lines = f"traceparent: {parent}\r\n"
    state = ",".join(filter(None, (one.strip(" \t") for one in states)))
    return f"{lines}tracestate: {state}\r\n" if _STATE.fullmatch(state) else lines

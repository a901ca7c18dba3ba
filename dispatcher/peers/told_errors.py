"""What a call raised, as it goes to who asked. Pure.

What the other side knows comes back as itself, and the refusals of the queue as the very values
that others are compared with. Of anything else it is only said that there was something: the log of
the process where it happened has the rest.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from dispatcher.errors import LogCorrupt, LogError, Refusal, Refused
from dispatcher.peers.errors import Failed
from dispatcher.queue import refusals
from dispatcher.queue.admin.surface import LetterGone

_KNOWN: Final = {one: one for one in vars(refusals).values() if isinstance(one, Refusal)}
_REFUSAL: Final = TypeAdapter(Refusal)
EXPECTED: Final = (Refused, LogError, LetterGone, ValueError)
"""What calls raise; anything else is a mistake, or the end of the process."""


def write_error(error: BaseException) -> dict[str, Any]:
    """As it is sent."""
    match error:
        case Refused():
            return {"refused": _REFUSAL.dump_python(error.refusal, mode="json")}
        case LetterGone():
            return {"gone": True}
        case LogCorrupt():
            return {"damaged": [error.path, error.offset, error.reason]}
        case LogError():
            return {"log": str(error)}
        case ValueError():
            return {"value": str(error)}
        case _:
            return {"failed": type(error).__name__}


def read_error(said: dict[str, Any]) -> Exception:
    """As it was; of one that is not known, that it failed."""
    try:
        if "refused" in said:
            refusal = _REFUSAL.validate_python(said["refused"])
            return Refused(_KNOWN.get(refusal, refusal))
        if "damaged" in said:
            path, offset, reason = said["damaged"]
            return LogCorrupt(str(path), int(offset), str(reason))
    except (TypeError, ValueError):
        return Failed("it failed, and does not say how in words that are known here")
    if "gone" in said:
        return LetterGone()
    if "log" in said:
        return LogError(said["log"])
    if "value" in said:
        return ValueError(said["value"])
    return Failed(f"it failed ({said.get('failed', 'nobody knows how')}): its log says more")

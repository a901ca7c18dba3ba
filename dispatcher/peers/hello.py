"""The first frame of each side of a link: who is there, and how it speaks. Pure.

It is JSON, an object. A field that is not known is passed over, and one that is missing counts as
not said: so a later version can say more. `version` is raised only where frames themselves mean
something else, and two that differ in it do not speak with each other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, TypeGuard

from dispatcher.peers.errors import LinkMisused

VERSION: Final = 1
_PROTOCOL: Final = "dispatcher"


@dataclass(frozen=True, slots=True)
class Hello:
    """`process` is its number; `incarnation` another one each time it starts. Who has connected
    says whom it wanted to reach, `to`: an address may be another one's by now."""

    process: int
    incarnation: int
    to: int | None = None

    def encode(self) -> bytes:
        """As the payload of a frame."""
        said: dict[str, int | str] = {
            "protocol": _PROTOCOL,
            "version": VERSION,
            "process": self.process,
            "incarnation": self.incarnation,
        }
        if self.to is not None:
            said["to"] = self.to
        return json.dumps(said).encode("ascii")


def read_hello(payload: bytes) -> Hello:
    """What a hello says.

    Raises:
        LinkMisused: it is none, or of a version that this program does not speak.
    """
    try:
        said = json.loads(payload)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise LinkMisused("the first frame is no hello") from error
    if not isinstance(said, dict) or said.get("protocol") != _PROTOCOL:
        raise LinkMisused("the first frame is no hello")
    if said.get("version") != VERSION:
        raise LinkMisused(
            f"it speaks version {str(said.get('version'))[:20]} of the protocol, and this process "
            f"version {VERSION}: start all processes from one version of the program"
        )
    process, incarnation = said.get("process"), said.get("incarnation")
    if not _is_number(process) or not _is_number(incarnation):
        raise LinkMisused("the hello does not say which process it is")
    to = said.get("to")
    return Hello(process, incarnation, to if _is_number(to) else None)


def _is_number(said: object) -> TypeGuard[int]:
    return isinstance(said, int) and not isinstance(said, bool) and said >= 0

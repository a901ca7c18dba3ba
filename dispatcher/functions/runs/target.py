"""Where the runs of an endpoint go, and how they are signed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dispatcher.core.destination import Destination
from dispatcher.functions.endpoints import BRIDGE
from dispatcher.functions.lanes.lanes import pulled_lane
from dispatcher.functions.model import Call
from dispatcher.protocol.signing import SignedTarget


@dataclass(frozen=True, slots=True)
class Target:
    """Where the runs of an endpoint go. `lane` is the name of its lane; `signed` is None where
    nothing is signed, because the request is fetched. `other` signs with the second key, where
    there are two; `is_other` says that `signed` is what was the other."""

    lane: str
    destination: Destination
    head: bytes
    signed: SignedTarget | None
    other: SignedTarget | None = None
    is_other: bool = False

    def with_other_key(self) -> Target | None:
        """For a run that was refused: signed with the other key. None: there is no other."""
        if self.other is None or self.is_other:
            return None
        return replace(self, signed=self.other, other=self.signed, is_other=True)

    def lane_of(self, call: Call) -> str:
        """The lane that a call waits in."""
        if self.signed is not None:
            return self.lane
        return pulled_lane(self.lane.removeprefix(BRIDGE), call.application)

"""Which calls are resumed with the nonce of their state in place of the state (`state-ref`).

An application says with a poll which of its processes keeps the state. Where several listen at one
endpoint nobody knows which of them a request reaches; one that does not have the state says so, and
that costs a request. So a nonce is sent where the process that keeps the state is the one that
answered last there, and only once a step; and where it was missed again and again, seldom. All of
it is in memory: after a restart states go whole.
"""

from __future__ import annotations

from typing import Final

from dispatcher.functions.model import Call, StateArm
from dispatcher.functions.spans import length_of

SMALL_BYTES: Final = 1024
"""A smaller state is sent itself: the nonce would save less than it may cost."""
MOST_CALLS: Final = 200_000
MOST_ENDPOINTS: Final = 4096
_MOST_CHARS: Final = 64
_MOST_DOUBLED: Final = 7


class _Endpoint:
    """`latest` is the process that answered last. `misses` in a row there were, and nothing is
    referred to until `rests` more answers have come."""

    __slots__ = ("latest", "misses", "rests")

    def __init__(self) -> None:
        self.latest = ""
        self.misses = self.rests = 0


class Referring:
    """What the applications of a partition keep. The oldest are forgotten first."""

    __slots__ = ("_endpoints", "_kept")

    def __init__(self) -> None:
        self._kept: dict[int, str] = {}
        self._endpoints: dict[str, _Endpoint] = {}

    def keeps(self, call: Call, process: str, *, was_referred: bool) -> None:
        """This process (any word of it; "": none) keeps the state that the call has from now on.
        `was_referred`: it had the state before, too."""
        self._kept.pop(call.key, None)
        if not process:
            return
        endpoint = self._endpoint(call.endpoint)
        if endpoint.latest != process:
            endpoint.latest = process[:_MOST_CHARS]
        if was_referred:
            endpoint.misses = 0
        elif endpoint.rests:
            endpoint.rests -= 1
        if _size_bytes(call) < SMALL_BYTES:
            return
        self._kept[call.key] = endpoint.latest  # one object for all
        if len(self._kept) > MOST_CALLS:
            del self._kept[next(iter(self._kept))]

    def _endpoint(self, name: str) -> _Endpoint:
        found = self._endpoints.pop(name, None) or _Endpoint()
        self._endpoints[name] = found
        if len(self._endpoints) > MOST_ENDPOINTS:
            del self._endpoints[next(iter(self._endpoints))]
        return found

    def missed(self, call: Call) -> None:
        """Whoever got the nonce does not have the state."""
        endpoint = self._endpoint(call.endpoint)
        endpoint.misses += 1
        endpoint.rests = 1 << min(endpoint.misses, _MOST_DOUBLED)

    def drop(self, key: int) -> None:
        """Its state goes whole from now on."""
        self._kept.pop(key, None)

    def nonce(self, call: Call) -> int:
        """What its next resume has in place of its state; 0: nothing."""
        process = self._kept.get(call.key)
        endpoint = self._endpoints.get(call.endpoint)
        if process is None or endpoint is None or process != endpoint.latest or endpoint.rests:
            return 0
        if call.attempts or call.arm is StateArm.NONE or not call.is_resume:
            return 0
        return call.state_crc


def _size_bytes(call: Call) -> int:
    return sum(map(length_of, call.states))

"""An application that keeps states and lets them grow: our SDK with a counter in place of a
function."""

from __future__ import annotations

import zlib
from struct import Struct

from dispatcher.protocol.messages import Any, Duration, Poll, RunRequest, RunResponse
from dispatcher.protocol.statuses import Status
from dispatcher.testing.application import exits

_HEAD = Struct("<II")
STATE_TYPE = "type.googleapis.com/dispatcher.sdk.v1.State"


class KeepingApplication:
    """A call takes `steps` steps, each a checkpoint that makes its state `piece_bytes` longer, and
    exits with the number of its steps. Between two steps `wait_s` go by. Each state that comes is
    checked.

    `appends`, `refers`: which of the extensions it uses. `kept` are states by the id of their call.
    `hits`, `misses`, `wholes` count resumes.
    """

    def __init__(
        self,
        steps: int,
        *,
        piece_bytes: int = 100,
        process: str = "p1",
        appends: bool = True,
        refers: bool = True,
        wait_s: int = 0,
    ) -> None:
        self.steps = steps
        self.process = process
        self.kept: dict[str, bytes] = {}
        self.hits = self.misses = self.wholes = 0
        self._piece_bytes = piece_bytes
        self._appends = appends
        self._refers = refers
        self._wait_s = wait_s

    def answer(self, request: RunRequest) -> RunResponse | None:
        """What a request is answered with; None: it has not the state that is meant."""
        before = self._state_of(request)
        if before is None:
            return None
        made = len(before) // self._piece_bytes
        if made == self.steps:
            self.kept.pop(request.dispatch_id, None)
            return exits(b"%d" % made)
        piece = self._piece(made, zlib.crc32(b"%s %d" % (self.process.encode(), made), made))
        return self._poll(request.dispatch_id, before, piece)

    def _state_of(self, request: RunRequest) -> bytes | None:
        if request.HasField("input"):
            return b""
        poll = request.poll_result
        if poll.state_ref:
            assert not poll.HasField("typed_coroutine_state")
            state = self.kept.get(request.dispatch_id, b"")
            if not state or self._nonce(state) != poll.state_ref:
                self.misses += 1
                return None
            self.hits += 1
            return state
        self.wholes += 1
        state = poll.typed_coroutine_state.value
        assert poll.typed_coroutine_state.type_url == STATE_TYPE
        for number, at in enumerate(range(0, len(state), self._piece_bytes)):
            piece = state[at : at + self._piece_bytes]
            assert piece == self._piece(number, _HEAD.unpack_from(piece)[1])
        return state

    def _poll(self, call_id: str, before: bytes, piece: bytes) -> RunResponse:
        state = before + piece
        poll = Poll(max_wait=Duration(seconds=self._wait_s), min_results=1, max_results=1)
        if self._appends and before:
            poll.extends = self._nonce(before)
            poll.typed_coroutine_state.CopyFrom(Any(value=piece))
        else:
            poll.typed_coroutine_state.CopyFrom(Any(type_url=STATE_TYPE, value=state))
        if self._appends or self._refers:
            poll.state_nonce = self._nonce(state)
        if self._refers:
            poll.process = self.process
            self.kept[call_id] = state
        return RunResponse(status=Status.OK.value, poll=poll)

    def _piece(self, number: int, nonce: int) -> bytes:
        return _HEAD.pack(number, nonce).ljust(self._piece_bytes, b".")

    def _nonce(self, state: bytes) -> int:
        return int(_HEAD.unpack_from(state, len(state) - self._piece_bytes)[1]) or 1

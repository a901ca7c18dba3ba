"""What the API asks of the function service.

Plain values; instants are integer microseconds since the epoch; ids are as on the wire (`ids`).
`Functions` is implemented by `outside.Outside` and has a twin for tests in
`dispatcher.testing.function_service`.

Where a method takes `only`, it is the application that asks, which knows of no others' calls; None
is an operator, who sees all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dispatcher.functions.shown import (
    CallFilter,
    CallPage,
    CallState,
    CallTotals,
    CallView,
    ExplanationView,
    Timeline,
    TreeView,
)
from dispatcher.functions.signing.keys import PublicKey as PublicKey
from dispatcher.protocol.messages import DispatchRequest, RecallRequest, RecallResponse
from dispatcher.queue.admin.surface import EVERY_LANE, LaneFilter, LaneOrder, LanePage


class NoResult(Enum):
    """Why there is no result.

    NOT_YET  the call has not ended.
    UNKNOWN  there never was such a call, or it is another application's.
    EXPIRED  it ended, and its result was dropped since.
    """

    NOT_YET = "not_yet"
    UNKNOWN = "unknown"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ResultView:
    """What a call came to: `result` is a serialized CallResult with its output, its error or both;
    `state` says how it ended."""

    id: str
    state: CallState
    result: bytes
    ended_at_us: int


class CancelMode(Enum):
    """CANCEL: it may clean up. KILL: nothing of it runs any more. The value is the API's word."""

    CANCEL = "cancel"
    KILL = "kill"


class Cancelled(Enum):
    """What came of a wish to end a call."""

    DONE = "done"
    UNKNOWN = "unknown"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Token:
    """An idempotency key of a Dispatch, and the SHA-256 of the body that came with it."""

    key: str
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Who dispatches: the name of its API key, "" where the API is open. `is_dispatch_py` says that
    its first run must not come before it has read the answer. `trace` is what its request belongs
    to (`tracing.trace_lines`)."""

    application: str
    is_dispatch_py: bool = False
    trace: str = ""


class Functions(Protocol):
    """The function service, for one process.

    Every method may raise `Refused` (it can't be stored now), and those that read `LogBusy`.
    """

    async def dispatch(
        self, request: DispatchRequest, caller: Dispatcher, token: Token | None = None
    ) -> Sequence[str]:
        """Store calls, all or none, and return their ids in the same order, once they are durable.

        With a token, the same body again gives the same ids.

        Raises:
            ConnectError: a call is wrong (the message names it and its field), or the token came
                with another body; nothing is stored.
        """

    async def recall(self, request: RecallRequest) -> RecallResponse:
        """Results that a call keeps, for a run of it.

        Raises:
            ConnectError: the permit is not for this call, or it does not keep one of them.
        """

    async def totals(self) -> CallTotals:
        """The figures of `/v1/stats`."""

    async def lanes(
        self, order: LaneOrder, *, which: LaneFilter = EVERY_LANE, after: str, limit: int
    ) -> LanePage:
        """Applications with calls that wait or are run, or that are left alone: by name, those
        after `after`; or those with most calls first."""

    async def call(self, call_id: str, *, only: str | None) -> CallView | None:
        """A call that exists, or whose result is kept; None: unknown."""

    async def explain(self, call_id: str, *, only: str | None) -> ExplanationView | None:
        """Why a call has not ended yet; None: unknown."""

    async def calls(
        self, which: CallFilter, *, limit: int, cursor: int | None, only: str | None
    ) -> CallPage:
        """A page of calls: those that exist, then those whose results are kept."""

    def tree_size(self, call: CallView) -> int:
        """How many calls its tree has, at most."""

    async def tree(self, call_id: str, *, only: str | None) -> TreeView | None:
        """A call and all under it that exist; None: unknown."""

    async def timeline(self, call_id: str, *, only: str | None) -> Timeline | None:
        """What happened to a call; None: unknown."""

    async def result(
        self, call_id: str, *, wait_s: float, only: str | None
    ) -> ResultView | NoResult:
        """The result of a call, which is waited for. A child's is known only to its parent: it
        counts as UNKNOWN once it has ended."""

    async def cancel(self, call_id: str, mode: CancelMode, *, only: str | None) -> Cancelled:
        """Ask a call to end, or end it; durable when it returns."""

    async def complete(self, application: str, name: str, result: bytes, *, is_error: bool) -> bool:
        """Complete a promise with a serialized CallResult; durable when it returns. False: it was
        completed before, and has that result."""

    async def send(self, application: str, name: str, result: bytes, *, is_error: bool) -> None:
        """Put a value (serialized CallResult) into a channel; durable when it returns."""

    async def signing_keys(self) -> Sequence[PublicKey]:
        """What applications verify with; the first one's private key signs."""

    async def create_signing_key(self) -> PublicKey:
        """Begin a rotation (`SigningKeyFile.rotate`), and return the new key.

        Raises:
            Refused: one is not finished.
        """

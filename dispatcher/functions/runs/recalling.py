"""Results that calls keep, for the runs that ask for them (`deciding.keeping`).

They are asked for over the API, and not sent with the run: together they may be more than fits in a
request, most processes have them, and a run is sent again and again. Who asks need not be of the
application that a call belongs to, which is the one that dispatched its root; so a run is given a
permit for its call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dispatcher.functions.ids import parse_id
from dispatcher.functions.limits import RECALLED_BYTES
from dispatcher.functions.model import Call, Result
from dispatcher.functions.ports import Store
from dispatcher.functions.runs.asking import Targets, set_result
from dispatcher.functions.spans import Span, length_of
from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import RecallRequest, RecallResponse


class Recalling:
    """Of one partition."""

    __slots__ = ("_calls", "_partition", "_store", "_targets")

    def __init__(
        self, calls: Mapping[int, Call], store: Store, targets: Targets, partition: int
    ) -> None:
        self._calls = calls
        self._store = store
        self._targets = targets
        self._partition = partition

    async def recall(self, request: RecallRequest) -> RecallResponse:
        """The first of the results that are asked for, as many as are answered at once.

        Raises:
            ConnectError: permission_denied, or not_found where the call does not keep one of them.
            LogBusy, LogError: as `Store.read`.
        """
        if not self._targets.permits(request.dispatch_id, request.permit):
            raise ConnectError(
                Code.PERMISSION_DENIED,
                f"That is no permit for call {request.dispatch_id[:80]!r}: show the one that its "
                "run was given (poll_result.permit).",
            )
        wanted: Sequence[Result] = ()

        def pick() -> list[Span]:
            nonlocal wanted
            wanted = self._wanted(request)
            return [result.where for result in wanted]

        blobs = await self._store.read(pick)
        assert blobs is not None
        answer = RecallResponse()
        for result, blob in zip(wanted, blobs, strict=True):
            set_result(answer.results.add(), result, blob, self._partition)
        return answer

    def _wanted(self, request: RecallRequest) -> Sequence[Result]:
        key = parse_id(request.dispatch_id)
        call = None if key is None else self._calls.get(key)
        kept = {} if call is None else {result.child: result for result in call.kept}
        wanted: list[Result] = []
        size_bytes = 0
        for name in request.results:
            child = parse_id(name)
            if child is None or child not in kept:
                raise ConnectError(
                    Code.NOT_FOUND,
                    f"Call {request.dispatch_id} keeps no result {name[:80]!r}: it has ended or "
                    "begun anew, or never kept that.",
                )
            size_bytes += length_of(kept[child].where)
            if wanted and size_bytes > RECALLED_BYTES:
                break
            wanted.append(kept[child])
        return wanted

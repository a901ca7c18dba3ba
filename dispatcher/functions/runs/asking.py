"""The request that a run is: a RunRequest, signed, as delivery sends it.

    POST /base/dispatch.sdk.v1.FunctionService/Run HTTP/1.1
    Host, Content-Type, Content-Length, Connect-Protocol-Version, Connect-Timeout-Ms, User-Agent,
    Content-Digest, Signature-Input, Signature

No Accept-Encoding: some endpoints would compress what is small already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from dispatcher import __version__
from dispatcher.core.destination import Destination, Origin
from dispatcher.core.message import RUN
from dispatcher.functions.deciding.appending import one
from dispatcher.functions.endpoints import BRIDGE
from dispatcher.functions.ids import call_id
from dispatcher.functions.limits import MOST_RUN_BYTES
from dispatcher.functions.model import NONE, Call, Result, StateArm
from dispatcher.functions.rules import Asked
from dispatcher.functions.runs.message import RunMessage
from dispatcher.functions.runs.target import Target
from dispatcher.protocol.messages import CallResult, PollResult, RunRequest
from dispatcher.protocol.signing import RUN_PATH, Signer, content_digest

if TYPE_CHECKING:
    from dispatcher.protocol.messages import Timestamp

FEATURES: Final = ("append", "cancel", "delay", "keep", "state-ref", "timeout", "version")
"""What this server knows beyond the protocol; sdk.proto says what each word means."""
_MOST_TARGETS: Final = 4096
_NOWHERE: Final = Destination("http", "bridge", 80)
"""Of a request that is fetched: nothing is connected to."""


class Targets:
    """The targets of endpoints: what can be known of each beforehand. `features` are the words of
    X-Dispatcher-Features, what this server knows beyond the protocol."""

    __slots__ = ("_known", "_signers", "_tail")

    def __init__(self, *signers: Signer, features: Sequence[str] = ()) -> None:
        """`signers`: one, or two while a rotation is under way; the first signs."""
        self._known: dict[str, Target] = {}
        self._signers = signers
        self._tail = (
            b"Content-Type: application/proto\r\nConnect-Protocol-Version: 1\r\n"
            b"User-Agent: dispatcher/%b\r\n" % __version__.encode()
        )
        if features:
            self._tail += b"X-Dispatcher-Features: %b\r\n" % ", ".join(features).encode()

    def of(self, endpoint: str) -> Target:
        """The target of an endpoint (`http://`, `https://`, `bridge://`).

        Raises:
            ValueError: it is none of these.
        """
        target = self._known.get(endpoint)
        if target is None:
            if len(self._known) >= _MOST_TARGETS:
                del self._known[next(iter(self._known))]
            target = self._known[endpoint] = self._make(endpoint)
        return target

    def sign_with(self, *signers: Signer) -> None:
        """Sign with other keys from now on."""
        self._signers = signers
        self._known.clear()

    def takes_other_key(self, endpoint: str, target: Target) -> None:
        """An application has the key that was tried second: it comes first from now on."""
        known = self._known.get(endpoint)
        if known is not None and known.other is target.signed:
            self._known[endpoint] = replace(target, is_other=False)

    def permit(self, call_id: str) -> bytes:
        """What a run of this call is told it by that it may ask for what the call keeps."""
        return self._signers[0].permit(call_id)

    def permits(self, call_id: str, shown: bytes) -> bool:
        """Whether that is the permit of this call, by any key in force."""
        return any(compare_digest(one.permit(call_id), shown) for one in self._signers)

    def _make(self, endpoint: str) -> Target:
        if endpoint.startswith(BRIDGE):
            session = endpoint.removeprefix(BRIDGE).encode("ascii")
            head = b"POST %b HTTP/1.1\r\nHost: %b\r\n" % (RUN_PATH.encode(), session)
            return Target(endpoint, _NOWHERE, head + self._tail, None)
        origin = Origin.parse(endpoint.encode())
        path = origin.base_path.decode("ascii") + RUN_PATH
        destination = origin.destination
        head = b"POST %b HTTP/1.1\r\n" % path.encode() + origin.host_line + self._tail
        signed, *other = (signer.target(destination.authority, path) for signer in self._signers)
        return Target(
            str(destination), destination, head, signed, other=other[0] if other else None
        )


@dataclass(frozen=True, slots=True)
class Given:
    """What a run is given, beside the names of its call: `input`, or the others for a resume. The
    bytes of `results` are in the order of `Call.results`. `state_ref`, where it is not 0, is the
    nonce that is sent in place of the states."""

    input: bytes | None = None
    states: Sequence[bytes] = ()
    results: Sequence[bytes] = ()
    error: bytes | None = None
    state_ref: int = 0


def run_request(call: Call, given: Given, partition: int, permit: bytes = b"") -> RunRequest:
    """The request of the next run of a call. `permit` belongs to what it keeps, if that is
    anything."""
    own_id = call_id(partition, call.key)
    request = RunRequest(
        function=call.function,
        dispatch_id=own_id,
        root_dispatch_id=own_id if call.parent == NONE else call_id(partition, call.root),
        version=call.version,
    )
    if call.parent != NONE:
        request.parent_dispatch_id = call_id(partition, call.parent)
    _set_time(request.creation_time, call.created_us)
    _set_time(request.expiration_time, call.expires_us)
    if given.input is not None:
        request.input.MergeFromString(given.input)
        request.input.SetInParent()  # an Any without anything in it is an input all the same
    else:
        _set_poll_result(request.poll_result, call, given, partition)
        request.poll_result.permit = permit
    return request


def _set_poll_result(poll: PollResult, call: Call, given: Given, partition: int) -> None:
    poll.SetInParent()
    if given.state_ref:
        poll.state_ref = given.state_ref
    elif call.arm is StateArm.LEGACY:
        poll.coroutine_state = one(call.arm, given.states)
    elif call.arm is StateArm.TYPED:
        poll.typed_coroutine_state.MergeFromString(one(call.arm, given.states))
        poll.typed_coroutine_state.SetInParent()
    for result, blob in zip(call.results, given.results, strict=False):
        set_result(poll.results.add(), result, blob, partition)
    if given.error is not None:
        poll.error.MergeFromString(given.error)
        poll.error.SetInParent()


def set_result(sent: CallResult, result: Result, blob: bytes, partition: int) -> None:
    """Make a message, which is empty, the result that is delivered."""
    sent.MergeFromString(blob)
    sent.correlation_id = result.correlation
    sent.dispatch_id = call_id(partition, result.child)


def _set_time(field: Timestamp, at_us: int) -> None:
    field.seconds, micros = divmod(at_us, 1_000_000)
    field.nanos = micros * 1000


def run_message(
    call: Call,
    target: Target,
    body: bytes,
    asked: Asked,
    *,
    partition: int,
    timeout_ms: int,
    now_us: int,
) -> RunMessage:
    """The message that carries a run, signed at `now_us` (microseconds since the epoch). About 2 ms
    for each MB of its body. Its `home` and `place` are not there yet."""
    head = target.head + b"Content-Length: %d\r\nConnect-Timeout-Ms: %d\r\n" % (
        len(body),
        timeout_ms,
    )
    if target.signed is not None:
        head += target.signed.sign(content_digest(body), now_us // 1_000_000).head
    head += call.trace.encode("ascii")
    message = RunMessage(
        target.destination, head, body, timeout_ms=timeout_ms, accepted_at=call.created_us
    )
    message.kind = RUN
    message.want_answer(MOST_RUN_BYTES)
    message.attempt = call.attempts + 1
    message.wire_id = call_id(partition, call.key).encode()
    message.key, message.step, message.asked, message.where = call.key, call.step, asked, target
    return message

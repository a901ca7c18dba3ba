"""A RunRequest as values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.messages import PollResult, RunRequest
from dispatcher.protocol.states import OWN_STATE_TYPE
from dispatcher.sdk.replay.model import Failure, Result, Told, Value
from dispatcher.sdk.wire import failure_of, instant_us, result_of, value_of


@dataclass(frozen=True, slots=True)
class Delivered:
    """The result of a call that was made in a poll: `id` is its correlation id."""

    id: int
    dispatch_id: str
    result: Result


@dataclass(frozen=True, slots=True)
class Resume:
    """What a suspended call is resumed with. `state` is None where there is none that this SDK
    wrote, or only the `nonce` of one that is kept here was sent; `digest` is that of the state.
    `error`: it is asked to end, or its poll was refused. `permit` is for results that the server
    keeps."""

    state: bytes | None
    digest: bytes = b""
    nonce: int = 0
    results: Sequence[Delivered] = ()
    error: Failure | None = None
    permit: bytes = b""


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be run: a function from its `input`, or one that goes on. `within_s` is how long
    the server waits for the answer, None: it did not say."""

    told: Told
    directive: Value | Resume
    within_s: float | None = None
    identities: set[bytes] = field(default_factory=set)
    """Requests that ask the same have one in common. Where the first had the nonce of a state and
    not the state, who has that adds what the request is called that comes again with it."""

    @property
    def features(self) -> frozenset[str]:
        """What the server knows beyond the protocol."""
        return self.told.features


def read_run(body: bytes, *, features: frozenset[str], timeout_ms: int | None) -> Run:
    """Read a request.

    Raises:
        ConnectError: invalid_argument; it is none.
    """
    try:
        request = RunRequest.FromString(body)
    except DecodeError as error:
        raise _wrong("the body is not a RunRequest in protobuf") from error
    if not request.function:
        raise _wrong("the request names no function")
    match request.WhichOneof("directive"):
        case "input":
            directive: Value | Resume = value_of(request.input)
        case "poll_result":
            directive = _resume(request.poll_result)
        case _:
            raise _wrong("the request has neither an input nor a poll_result")
    within_s = None if not timeout_ms else timeout_ms / 1000
    return Run(_told(request, features), directive, within_s, {_identity(directive, body)})


def _resume(poll: PollResult) -> Resume:
    own = poll.typed_coroutine_state
    is_own = poll.WhichOneof("state") == "typed_coroutine_state" and own.type_url == OWN_STATE_TYPE
    return Resume(
        state=own.value if is_own else None,
        digest=digest_of(own.value).digest() if is_own else b"",
        nonce=poll.state_ref,
        results=tuple(
            Delivered(one.correlation_id, one.dispatch_id, result_of(one)) for one in poll.results
        ),
        error=failure_of(poll.error) if poll.HasField("error") else None,
        permit=poll.permit,
    )


def _identity(directive: Value | Resume, body: bytes) -> bytes:
    if isinstance(directive, Value) or not (directive.digest or directive.nonce):
        return digest_of(body).digest()
    return identity_of(directive.digest or directive.nonce.to_bytes(4, "big"), directive)


def identity_of(state: bytes, resume: Resume) -> bytes:
    """What a resume of this state is called, by the digest or the nonce of it. Its results are told
    by their ids: each has one value for ever."""
    told = [f"{one.id} {one.dispatch_id}" for one in resume.results]
    digest = digest_of(state)
    digest.update(f"{resume.error} {told}".encode("utf-8", "replace"))
    return digest.digest()


def digest_of(data: bytes) -> hashlib.blake2b:
    """A digest of these bytes, to which others may be added."""
    return hashlib.blake2b(data, digest_size=16)


def _told(request: RunRequest, features: frozenset[str]) -> Told:
    return Told(
        id=request.dispatch_id,
        function=request.function,
        parent_id=request.parent_dispatch_id,
        root_id=request.root_dispatch_id or request.dispatch_id,
        created_us=instant_us(request.creation_time),
        expires_us=instant_us(request.expiration_time),
        version=request.version,
        features=features,
    )


def _wrong(message: str) -> ConnectError:
    return ConnectError(Code.INVALID_ARGUMENT, message)

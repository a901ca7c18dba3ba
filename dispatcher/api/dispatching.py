"""The remote procedure calls of the Dispatch protocol: `DispatchService`, and `SigningKeyService`.

`Wait` is known from one client's test service only: its body is an id as it is, its answer a
CallResult.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from dispatcher.api import rpc
from dispatcher.api.audit import Action, Audit
from dispatcher.api.auth import application, only
from dispatcher.api.errors import ApiError
from dispatcher.api.json_requests import JsonRequests
from dispatcher.api.models import Input, Nothing, Output
from dispatcher.api.patience import in_time
from dispatcher.api.room import BodyRoom
from dispatcher.api.routes import MAY_ACT, MAY_LOOK, AnyRoute, Asked, Route
from dispatcher.api.staying import Stays, unless_gone
from dispatcher.core.keys import Role
from dispatcher.functions.limits import MOST_RUN_BYTES
from dispatcher.functions.surface import (
    Dispatcher,
    Functions,
    NoResult,
    PublicKey,
    ResultView,
    Token,
)
from dispatcher.functions.tracing import trace_lines
from dispatcher.protocol.connect import (
    TIMEOUT_HEADER,
    Code,
    ConnectError,
    Encoding,
    timeout_of,
)
from dispatcher.protocol.messages import (
    DispatchRequest,
    DispatchResponse,
    RecallRequest,
)

LONGEST_WAIT_S: Final = 60.0
FEATURES_HEADER: Final = "X-Dispatcher-Features"
TOKEN_HEADER: Final = "Idempotency-Key"

_PROTO: Final = Encoding.PROTO.value
_DISPATCH: Final = "/dispatch.sdk.v1.DispatchService/"
_KEYS: Final = "/dispatch.v1.SigningKeyService/"
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ID_BYTES: Final = 64
_NAMES_BYTES: Final = 512 * 1024
"""Of as many names as there may be of what a call keeps."""
_AT_ONCE_BYTES: Final = 256 * 1024
_ADMIN: Final = frozenset({Role.ADMIN})
_TOO_LARGE: Final = {
    429: "The body is larger than 16 000 000 bytes, or has more than 1 000 calls: "
    "`resource_exhausted`.",
    501: "An endpoint or a Content-Encoding that is not supported: `unimplemented`.",
}


class SigningKeyRequest(Input):
    """No parameters."""


class AsymmetricKey(Output):
    """A public key in PEM. Names as in protobuf's JSON."""

    publicKey: str  # noqa: N815 # the wire's


class SigningKey(Output):
    """A key that signs runs, or will."""

    signingKeyId: str  # noqa: N815 # the wire's
    asymmetricKey: AsymmetricKey  # noqa: N815 # the wire's

    @classmethod
    def of(cls, key: PublicKey) -> SigningKey:
        """From what the service says."""
        return cls(signingKeyId=key.id, asymmetricKey=AsymmetricKey(publicKey=key.pem))


class SigningKeyList(Output):
    """The key that signs comes first."""

    keys: list[SigningKey]


class SigningKeyMade(Output):
    """The key that will sign when the rotation is finished."""

    key: SigningKey


class DispatchCalls:
    """What applications ask for in the Dispatch protocol."""

    def __init__(self, functions: Functions, room: BodyRoom, audit: Audit, *, stays: Stays) -> None:
        self._functions = functions
        self._stays = stays
        self._room = room
        self._json = JsonRequests()
        self._audit = audit

    def routes(self) -> Sequence[AnyRoute]:
        """The rows of the table."""
        return [
            Route(
                "POST", f"{_DISPATCH}Dispatch", self._dispatch, "dispatchCalls",
                "Dispatch calls, all or none: a DispatchRequest, in protobuf or JSON",
                Nothing, Nothing, Nothing, content_type=_PROTO, streams=_PROTO,
                roles=MAY_ACT, is_rpc=True,
                refusals={409: "The key came with another body: `already_exists`.", **_TOO_LARGE},
            ),
            Route(
                "POST", f"{_DISPATCH}Wait", self._wait, "waitForCall",
                "Wait for the result of the call whose id is the body: a CallResult",
                Nothing, Nothing, Nothing, content_type=_PROTO, streams="text/plain",
                roles=MAY_LOOK, is_rpc=True,
                refusals={
                    404: "No such call, or its result is gone: `not_found`.",
                    504: "It has not ended yet: `deadline_exceeded`; ask again.",
                    **_TOO_LARGE,
                },
            ),
            Route(
                "POST", f"{_DISPATCH}Recall", self._recall, "recallResults",
                "Results that a call keeps, for a run of it: a RecallRequest, in protobuf",
                Nothing, Nothing, Nothing, content_type=_PROTO, streams=_PROTO,
                roles=MAY_ACT, is_rpc=True,
                refusals={
                    404: "The call does not keep one of them: `not_found`.",
                    501: "Another encoding than protobuf: `unimplemented`.",
                },
            ),
            Route(
                "POST", f"{_KEYS}ListSigningKeys", self._list_keys, "listSigningKeys",
                "The keys that runs are verified with",
                Nothing, Nothing, SigningKeyRequest, answer=SigningKeyList, roles=MAY_LOOK,
                is_rpc=True,
            ),
            Route(
                "POST", f"{_KEYS}CreateSigningKey", self._create_key, "createSigningKey",
                "Begin a rotation of the key that signs runs",
                Nothing, Nothing, SigningKeyRequest, answer=SigningKeyMade, roles=_ADMIN,
                is_rpc=True,
            ),
        ]  # fmt: skip

    async def _dispatch(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.Response:
        request = asked.request
        encoded = rpc.encoding(request)
        token_key = _token(request)
        async with self._room.body(request, MOST_RUN_BYTES) as body:
            token = None
            if token_key is not None:
                token = Token(token_key, await _digest(body))
            if encoded is Encoding.JSON:
                message = await self._json.read(body)
            else:
                message = rpc.parse(body, DispatchRequest())
            caller = Dispatcher(
                application(), is_dispatch_py=_is_dispatch_py(request), trace=_trace(request)
            )
            ids = await self._functions.dispatch(message, caller, token)
        return rpc.answer(DispatchResponse(dispatch_ids=ids), encoded)

    async def _recall(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.Response:
        request = asked.request
        encoded = rpc.encoding(request)
        if encoded is not Encoding.PROTO:  # of large values, or of types that have none
            raise ConnectError(
                Code.UNIMPLEMENTED, f"Results have no JSON form; send Content-Type: {_PROTO}"
            )
        async with self._room.body(request, _NAMES_BYTES) as body:
            message = rpc.parse(body, RecallRequest())
        async with self._room.space(MOST_RUN_BYTES):
            return rpc.answer(await self._functions.recall(message), encoded)

    async def _wait(self, asked: Asked[Nothing, Nothing, Nothing]) -> web.Response:
        request = asked.request
        timeout_ms = timeout_of(request.headers.get(TIMEOUT_HEADER))
        wait_s = LONGEST_WAIT_S
        if timeout_ms is not None:
            wait_s = min(in_time(timeout_ms / 1000), LONGEST_WAIT_S)
        async with self._room.body(request, _ID_BYTES) as body:
            call_id = body.decode("ascii", "replace").strip()
        finding = self._functions.result(call_id, wait_s=wait_s, only=only())
        found = await unless_gone(finding, self._stays(request, wait_s), NoResult.NOT_YET)
        match found:
            case ResultView():
                return web.Response(body=found.result, content_type=_PROTO)
            case NoResult.NOT_YET:
                raise ConnectError(
                    Code.DEADLINE_EXCEEDED, f"Call {call_id} has not ended yet; ask again."
                )
            case NoResult.EXPIRED:
                raise ConnectError(
                    Code.NOT_FOUND, f"Call {call_id} ended, and its result is no longer kept."
                )
            case _:
                raise ConnectError(Code.NOT_FOUND, f"No call {call_id!r} is known.")

    async def _list_keys(self, _: Asked[Nothing, Nothing, SigningKeyRequest]) -> SigningKeyList:
        keys = await self._functions.signing_keys()
        return SigningKeyList(keys=[SigningKey.of(key) for key in keys])

    async def _create_key(self, _: Asked[Nothing, Nothing, SigningKeyRequest]) -> SigningKeyMade:
        with self._audit.acting(Action.KEY_MADE, {}) as told:
            key = await self._functions.create_signing_key()
            told.count = 1
        return SigningKeyMade(key=SigningKey.of(key))


async def _digest(body: bytes) -> bytes:
    """SHA-256, which takes 10 ms for the largest body: in a thread then."""
    if len(body) > _AT_ONCE_BYTES:
        return (await asyncio.to_thread(hashlib.sha256, body)).digest()
    return hashlib.sha256(body).digest()


def _trace(request: web.Request) -> str:
    headers = request.headers
    return trace_lines(headers.getall("traceparent", ()), headers.getall("tracestate", ()))


def _token(request: web.Request) -> str | None:
    values = request.headers.getall(TOKEN_HEADER, [])
    if not values:
        return None
    if len(values) > 1 or not _TOKEN.fullmatch(values[0]):
        raise ApiError(
            400,
            "idempotency_key_invalid",
            f"{TOKEN_HEADER}: once, with 1 to 255 visible ASCII characters.",
        )
    return values[0]


def _is_dispatch_py(request: web.Request) -> bool:
    """Its first run must not come before it has read the answer. It sends what aiohttp sends; so
    does our own SDK, which says what it can."""
    is_aiohttp = "aiohttp" in request.headers.get("User-Agent", "")
    return is_aiohttp and FEATURES_HEADER not in request.headers

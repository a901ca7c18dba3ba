"""Asks the server for results that it keeps, over the connections of a client."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from dispatcher.protocol.connect import (
    VERSION,
    VERSION_HEADER,
    Code,
    ConnectError,
    Encoding,
    error_of,
)
from dispatcher.protocol.messages import RecallRequest, RecallResponse
from dispatcher.sdk.client.exchange import Lost, Reply, Request
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.sessions import Sessions
from dispatcher.sdk.client.settings import common_headers
from dispatcher.sdk.running.recalling import Recall

_TARGET: Final = "/dispatch.sdk.v1.DispatchService/Recall"
_WITHIN_S: Final = 20.0
_TRIES: Final = 2
"""A connection that was idle may be lost; beyond that the server makes the run again."""


def recall_from(server: Server) -> Recall:
    """Return what asks a server."""
    headers = {"Content-Type": Encoding.PROTO.value, VERSION_HEADER: VERSION}
    sessions = Sessions(server, {**common_headers(server), **headers})

    async def recall(request: RecallRequest) -> RecallResponse:
        sent = Request("POST", _TARGET, body=request.SerializeToString())
        came: Reply | Lost | None = None
        for _ in range(_TRIES):
            came = await sessions.exchange(sent, _WITHIN_S)
            if isinstance(came, Reply):
                return _read(came)
        assert isinstance(came, Lost)
        raise ConnectionError(came.reason)

    return recall


def _read(reply: Reply) -> RecallResponse:
    if reply.status != 200:
        raise error_of(reply.status, reply.body)
    try:
        return RecallResponse.FromString(reply.body)
    except DecodeError as error:
        raise ConnectError(Code.INTERNAL, "an answer that is no RecallResponse") from error

"""Answers that are no success, as exceptions: each says what to change, and where it is set."""

from __future__ import annotations

import json
from typing import Final

from dispatcher.protocol.connect import Code, error_of
from dispatcher.protocol.statuses import Status, status_of_http
from dispatcher.sdk.client.errors import ClientError, KeyRefused
from dispatcher.sdk.client.exchange import Reply
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.written import API_KEY, API_URL

_OF_CODE: Final = {
    Code.INVALID_ARGUMENT: Status.INVALID_ARGUMENT,
    Code.RESOURCE_EXHAUSTED: Status.INVALID_ARGUMENT,
    Code.NOT_FOUND: Status.NOT_FOUND,
    Code.PERMISSION_DENIED: Status.PERMISSION_DENIED,
    Code.UNAUTHENTICATED: Status.UNAUTHENTICATED,
    Code.UNAVAILABLE: Status.TEMPORARY_ERROR,
    Code.INTERNAL: Status.TEMPORARY_ERROR,
    Code.DEADLINE_EXCEEDED: Status.TIMEOUT,
}


def refusal(server: Server, reply: Reply) -> ClientError:
    """What an answer means that is not one of those that the request is for."""
    if reply.status == 401:
        return _of_key(server)
    code, message = _said(reply)
    if reply.status < 400 or (not code and reply.status in (404, 405)):
        return ClientError(
            f"{server.url} ({server.url_from}) answers HTTP {reply.status}, as the API of a "
            f"dispatcher never does. {API_URL.variable} is http:// and its API_LISTEN, not its "
            "LISTEN.",
            status=Status.INVALID_RESPONSE,
            http_status=reply.status,
        )
    if reply.status == 403:
        message = f"{message} The key is {server.key_from}." if server.key else message
    return ClientError(
        message or f"{server.url} answered HTTP {reply.status}.",
        status=_status(reply),
        code=code,
        http_status=reply.status,
    )


def slug(reply: Reply) -> str:
    """The server's word for why it refuses, "" without one."""
    return _said(reply)[0]


def _of_key(server: Server) -> KeyRefused:
    if server.key:
        message = (
            f"{server.url} does not know the key that {server.key_from} has: write one of API_KEYS "
            "of the server."
        )
    else:
        message = (
            f"{server.url} wants a key: set {API_KEY.variable}, or pass api_key=…, to one of "
            "API_KEYS of the server."
        )
    return KeyRefused(message, status=Status.UNAUTHENTICATED, code="key_invalid", http_status=401)


def _said(reply: Reply) -> tuple[str, str]:
    """Word and message of an error in the API's shape, or in Connect's."""
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(document, dict):
        return "", ""
    word = document.get("error") or document.get("code") or ""
    return str(word), str(document.get("message") or "")


def _status(reply: Reply) -> Status:
    status = status_of_http(reply.status)
    if reply.status in (404, 408, 504):
        return status
    return _OF_CODE.get(error_of(reply.status, reply.body).code, status)

"""Errors of the API, in the one shape that all errors have: `{"error": slug, "message": text}`; but
for remote procedure calls, whose errors are as Connect has them (`connect`).

The middleware stands around everything: what aiohttp answers in plain text by itself (404, 405,
413) gets that shape too, and what nobody foresaw becomes a 500 that says nothing of the inside, and
an event.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import HttpVersion10, web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.api.connect import is_rpc, refusal
from dispatcher.api.json_line import LINE_END
from dispatcher.errors import LogBusy, Refusal, Refused
from dispatcher.protocol.connect import ConnectError
from dispatcher.telemetry.events import Events

_LOG_BUSY = Refusal(
    503,
    "log_busy",
    "The dispatcher lacks descriptors or memory for the moment. If this was to change something, "
    "see what became of it; then ask again.",
    retry_after_s=5,
)


class ApiError(Exception):
    """A request cannot be answered; raised in a handler, answered by the middleware."""

    def __init__(
        self, status: int, slug: str, message: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.slug = slug
        self.message = message
        self.headers = headers


def error_middleware(events: Events) -> Middleware:
    """Make the middleware that turns every error into an answer."""

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.version < HttpVersion10:
                raise ApiError(
                    505, "version_unsupported", "Say HTTP/1.1 (or 1.0): `GET /path HTTP/1.1`."
                )
            return await handler(request)
        except ApiError as error:
            return _answer(request, error)
        except ConnectError as error:
            return _connect_answer(error.http_status, error)
        except Refused as error:
            if error.refusal.is_silent and request.transport is not None:
                request.transport.abort()  # the answer goes nowhere
            return _answer(request, _as_api_error(error.refusal))
        except LogBusy:
            return _answer(request, _as_api_error(_LOG_BUSY))
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return _answer(request, _translated(request, error))
        except Exception as error:  # the boundary of a request: the server goes on
            events.api_failed(method=request.method, path=request.path, exc_info=error)
            return _answer(
                request, ApiError(500, "internal_error", "The server failed; its log says how.")
            )

    return answer_errors


def _answer(request: web.Request, error: ApiError) -> web.Response:
    if is_rpc(request.path):
        return _connect_answer(*refusal(error.status, error.message), headers=error.headers)
    text = json.dumps({"error": error.slug, "message": error.message}) + LINE_END
    return web.json_response(text=text, status=error.status, headers=error.headers)


def _connect_answer(
    status: int, error: ConnectError, *, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        status=status, body=error.body(), content_type="application/json", headers=headers
    )


def _as_api_error(refusal: Refusal) -> ApiError:
    """What the queue refuses, with the time to ask again."""
    after_s = refusal.retry_after_s
    headers = None if after_s is None else {"Retry-After": str(after_s)}
    return ApiError(refusal.status, refusal.slug, refusal.message, headers=headers)


def _translated(request: web.Request, error: web.HTTPException) -> ApiError:
    match error:
        case web.HTTPNotFound():
            where = (
                request.path if request.path.startswith("/") else request.path_qs or "that target"
            )
            return ApiError(
                404,
                "not_found",
                f"There is nothing at {where}; GET /openapi.json has all that there is.",
            )
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return ApiError(
                405,
                "method_not_allowed",
                f"{request.path} does not take {error.method}; use {allowed}.",
                headers={"Allow": allowed},
            )
        case _:
            slug = HTTPStatus(error.status).name.lower()
            return ApiError(error.status, slug, f"{error.reason}.")

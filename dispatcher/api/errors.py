"""Errors of the API, in the one shape that all errors have: `{"error": slug, "message": text}`.

The middleware stands around everything: what aiohttp answers in plain text by itself (404, 405,
413) gets that shape too, and what nobody foresaw becomes a 500 that says nothing of the inside, and
an event.
"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dispatcher.errors import Refusal, Refused
from dispatcher.telemetry.events import Events


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
            return await handler(request)
        except ApiError as error:
            return _answer(error)
        except Refused as error:
            return _answer(_as_api_error(error.refusal))
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return _answer(_translated(request, error))
        except Exception as error:  # the boundary of a request: the server goes on
            events.api_failed(method=request.method, path=request.path, exc_info=error)
            return _answer(ApiError(500, "internal_error", "The server failed; its log says how."))

    return answer_errors


def _answer(error: ApiError) -> web.Response:
    body = {"error": error.slug, "message": error.message}
    return web.json_response(body, status=error.status, headers=error.headers)


def _as_api_error(refusal: Refusal) -> ApiError:
    """What the queue refuses, with the time to ask again."""
    after_s = refusal.retry_after_s
    headers = None if after_s is None else {"Retry-After": str(after_s)}
    return ApiError(refusal.status, refusal.slug, refusal.message, headers=headers)


def _translated(request: web.Request, error: web.HTTPException) -> ApiError:
    match error:
        case web.HTTPNotFound():
            return ApiError(404, "not_found", f"There is nothing at {request.path}.")
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

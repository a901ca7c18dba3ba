"""An answer of a handler as a response, and what every response has."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel

from dispatcher.api.json_line import json_line
from dispatcher.api.routes import JSON, Answer


async def finish_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """What every answer has, errors included."""
    answer.headers.pop("Server", None)  # aiohttp says its own and Python's version
    answer.headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith(("/v1/", "/sessions/")):
        answer.headers["Cache-Control"] = "no-store"


def response(answer: Answer, status: int = 200) -> web.StreamResponse:
    """A model as JSON, None without a body, a response as it is."""
    if answer is None:
        return web.Response(status=status)
    if isinstance(answer, BaseModel):
        return web.Response(
            status=status, body=json_line(answer), content_type=JSON, charset="utf-8"
        )
    return answer

"""Functions in an application of aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.requests import SERVICE, prefix_of
from dispatcher.sdk.serving.telling import FirstStart
from dispatcher.sdk.serving.web import answered

if TYPE_CHECKING:
    from aiohttp import web


def mount(api: web.Application, app: Application, *, path: str | None = None) -> None:
    """Have `api` answer runs of the functions of `app`, of up to 16 MB, whatever its
    `client_max_size`.

    Args:
        api: the application of aiohttp.
        app: a `Dispatch`.
        path: what stands before `/dispatch.sdk.v1.FunctionService` in the paths that `api` sees;
            None: the path of the endpoint's URL.
    """

    first = FirstStart(app)

    async def start(_: web.Application) -> None:
        first.say()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answered(app, request)

    api.on_startup.append(start)
    prefix = prefix_of(app.config, path)
    api.router.add_route("*", f"{prefix}{SERVICE}/{{method}}", answer)

"""Functions in an application of Starlette."""

from __future__ import annotations

from typing import Any, Protocol

from dispatcher.sdk.serving.asgi import Asgi
from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.requests import SERVICE, prefix_of


class Mounts(Protocol):
    """Starlette, and FastAPI."""

    def mount(self, path: str, app: Any, name: str | None = None) -> None: ...


def mount(api: Mounts, app: Application, *, path: str | None = None) -> None:
    """Have `api` answer runs of the functions of `app`. Its middlewares see them too: let one that
    asks for a login pass them; they are signed.

    Args:
        api: the application of Starlette.
        app: a `Dispatch`.
        path: what stands before `/dispatch.sdk.v1.FunctionService` in the paths that `api` sees;
            None: the path of the endpoint's URL.
    """
    api.mount(prefix_of(app.config, path) + SERVICE, Asgi(app))

"""Functions in an application of Flask, or another that has its WSGI application in `wsgi_app`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.requests import SERVICE, prefix_of
from dispatcher.sdk.serving.wsgi import Wsgi

WsgiApp = Callable[[Any, Any], Iterable[bytes]]


class HasWsgiApp(Protocol):
    """Flask."""

    def wsgi_app(self, environ: Any, start_response: Any) -> Any: ...


def mount(api: HasWsgiApp, app: Application, *, path: str | None = None) -> None:
    """Have `api` answer runs of the functions of `app`: before its routes and hooks, and whatever
    its `MAX_CONTENT_LENGTH`.

    Args:
        api: the application of Flask.
        app: a `Dispatch`.
        path: what stands before `/dispatch.sdk.v1.FunctionService` in the paths that `api` sees;
            None: the path of the endpoint's URL.
    """
    prefix = f"{prefix_of(app.config, path)}{SERVICE}/"
    others: WsgiApp = api.wsgi_app
    runs = Wsgi(app)

    def either(environ: Any, start_response: Any) -> Iterable[bytes]:
        is_run = environ.get("PATH_INFO", "").startswith(prefix)
        return runs(environ, start_response) if is_run else others(environ, start_response)

    api.wsgi_app = either  # type: ignore[method-assign] # as Flask says to do it

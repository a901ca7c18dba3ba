"""Functions in an application of Django, under WSGI or ASGI."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving import asgi, wsgi
from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.requests import SERVICE, body_size, is_run, prefix_of
from dispatcher.sdk.serving.wsgi import Wsgi, headers_of

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def mount(urlpatterns: list[Any], app: Application, *, path: str | None = None) -> None:
    """Have Django answer runs of the functions of `app`, of up to 16 MB, whatever its
    `DATA_UPLOAD_MAX_MEMORY_SIZE`, and without a CSRF token: they are signed.

    Args:
        urlpatterns: those of the project, in its `urls.py`.
        app: a `Dispatch`.
        path: what stands before `/dispatch.sdk.v1.FunctionService` in the paths that these patterns
            see; None: the path of the endpoint's URL.
    """
    from django.urls import re_path
    from django.views.decorators.csrf import csrf_exempt

    prefix = f"{prefix_of(app.config, path)}{SERVICE}/".removeprefix("/")
    urlpatterns.insert(0, re_path(f"^{re.escape(prefix)}[A-Za-z]+$", csrf_exempt(_view(app))))


def _view(app: Application) -> Any:
    runs = Wsgi(app)

    def view(request: HttpRequest) -> HttpResponse:
        from django.http import HttpResponse

        answer = _answered(runs, request)
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))

    return view


def _answered(runs: Wsgi, request: HttpRequest) -> Answer:
    method, path, headers = request.method or "", _path(request), headers_of(request.META)
    if not is_run(method, path):
        return runs.answer(method, path, headers, b"")
    size = body_size(headers)
    if isinstance(size, Answer):
        return size
    body = request.read(size)
    return runs.answer(method, path, headers, body) if len(body) == size else Answer(400, (), b"")


def _path(request: HttpRequest) -> str:
    """The path as it was sent, with its query."""
    scope = getattr(request, "scope", None)
    return wsgi.path_of(request.META) if scope is None else asgi.path_of(scope)

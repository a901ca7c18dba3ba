"""An application as one of WSGI: https://peps.python.org/pep-3333/

Functions run on one event loop in the background, whichever thread of the server a request is
read in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from dispatcher.sdk.endpoint import Answer
from dispatcher.sdk.serving.background import Background
from dispatcher.sdk.serving.ports import Application
from dispatcher.sdk.serving.requests import SAFE_IN_PATHS, body_size, is_run
from dispatcher.sdk.serving.telling import FirstStart

Environ: TypeAlias = Mapping[str, Any]
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]

_RAW: Final = ("RAW_URI", "REQUEST_URI")
"""Where servers tell the path as it was sent: gunicorn and Werkzeug the first, uWSGI, mod_wsgi and
Werkzeug the second."""
_NO_REASON: Final = "Status"


class Wsgi:
    """Answers requests. One may be used by any number of threads."""

    def __init__(self, app: Application) -> None:
        self._handler = app
        self._first = FirstStart(app)
        self._background = Background()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        start_response(
            f"{answer.status} {_reason(answer.status)}",
            [*answer.headers, ("Content-Length", str(len(answer.body)))],
        )
        return [answer.body]

    def _answer(self, environ: Environ) -> Answer:
        method, path, headers = environ["REQUEST_METHOD"], path_of(environ), headers_of(environ)
        body = b""
        if is_run(method, path):
            size = body_size(headers)
            if isinstance(size, Answer):
                return size
            body = environ["wsgi.input"].read(size)
            if len(body) < size:
                return Answer(400, (), b"")  # nobody is there to read it
        return self.answer(method, path, headers, body)

    def answer(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Have a request answered that was read; blocks until it is."""
        self._first.say()
        return self._background.run(self._handled(method, path, headers, body))

    async def _handled(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        return await self._handler.handle(method, path, headers, body)


def path_of(environ: Environ) -> str:
    """Return the path as it was sent, with its query: what is signed. Where the server does not
    tell, it is encoded anew, as almost everybody does it."""
    for name in _RAW:
        raw: str = environ.get(name, "")
        if raw.startswith("/"):
            return raw
    decoded = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    path = quote(decoded.encode("latin-1"), safe=SAFE_IN_PATHS)
    query = environ.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path


def headers_of(environ: Environ) -> list[tuple[str, str]]:
    """Return the headers; WSGI has joined those of one name."""
    found = [
        (name.removeprefix("HTTP_").replace("_", "-").title(), text)
        for name, text in environ.items()
        if name.startswith("HTTP_")
    ]
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found.append((name.replace("_", "-").title(), environ[name]))
    return found


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _NO_REASON

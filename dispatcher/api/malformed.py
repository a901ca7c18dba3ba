"""What is no HTTP request, as aiohttp finds it: refused like everything else, as
`{"error": slug, "message": text}`, before any handler or middleware sees it.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from dispatcher.api.errors import ApiError
from dispatcher.api.json_line import LINE_END


class Speaker(web.RequestHandler):
    """aiohttp's end of one connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what cannot be read as a request; the connection is closed then."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun, and there is no way to another")
        error = refusal(status, exc, message or "")
        said = json.dumps({"error": error.slug, "message": error.message}) + LINE_END
        # aiohttp would say its own name and Python's version.
        headers = {"Server": "dispatcher", "X-Content-Type-Options": "nosniff"}
        answer = web.json_response(text=said, status=error.status, headers=headers)
        answer.force_close()
        return answer


def refusal(status: int, exc: BaseException | None, message: str) -> ApiError:
    """What is told of that which aiohttp found. Of what was sent nothing is repeated: there may be
    a key in it."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ApiError(500, "internal_error", "The server failed; its log says how.")
    if isinstance(exc, LineTooLong):
        return ApiError(
            431,
            "head_too_large",
            "The address, or a header, is longer than 8190 bytes: shorten it. What is long belongs "
            "in the body.",
        )
    found = _first_words(message)
    if "HTTPS traffic" in found:
        return ApiError(
            400,
            "tls_unexpected",
            "This is TLS, and API_LISTEN speaks plain HTTP: ask with http://, or set API_TLS_CERT "
            "and API_TLS_KEY.",
        )
    return ApiError(
        400,
        "request_invalid",
        f"This is no HTTP request{': ' if found else ''}{found}. It is `METHOD /path HTTP/1.1`, "
        "headers with one `Host` among them, each on a line, and an empty line.",
    )


def _first_words(message: str) -> str:
    """What is wrong, without the bytes that are shown behind it: `Invalid header token`."""
    lines = message.partition("\n\n")[0].splitlines()
    words = " ".join(line.strip() for line in lines)
    return re.split(r""":? b?['"]""", words)[0].rstrip(":. ")

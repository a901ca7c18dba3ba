"""`dispatch.http.get` and its like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, TypedDict, Unpack

from dispatcher.sdk.functions import marks
from dispatcher.sdk.functions.call import Call
from dispatcher.sdk.functions.durations import Seconds, microseconds
from dispatcher.sdk.http.request import NO_JSON, Params, build
from dispatcher.sdk.http.response import Response
from dispatcher.sdk.http.sending import send

Headers: TypeAlias = Mapping[str, str]
Data: TypeAlias = bytes | str | Mapping[str, str]


class Options(TypedDict, total=False):
    """What `request` takes of a request without a body."""

    params: Params | None
    headers: Headers | None
    timeout: Seconds
    follow_redirects: bool
    expiration: Seconds | None


class WithBody(Options, total=False):
    """And of one that may have one."""

    data: Data | None
    json: Any


_ROOM_S: Final = 10.0
"""How much longer a run may take than the request that it makes."""
_MOST_S: Final = 86_400.0 - _ROOM_S


@marks.operation()
def request(
    method: str,
    url: str,
    *,
    params: Params | None = None,
    headers: Headers | None = None,
    data: Data | None = None,
    json: Any = NO_JSON,
    timeout: Seconds = 30.0,
    follow_redirects: bool = True,
    expiration: Seconds | None = None,
) -> Call[Response]:
    """Return a request to `await`. It is made at least once, and again until there is an answer
    other than 408, 429 and 5xx (but 501).

    A request that changes something may be made twice, where an answer was lost. POST and PATCH
    have an `Idempotency-Key` that is the same in every try.

    Args:
        method: "GET", "POST" and so on.
        url: all of it, from http:// or https:// on.
        params: what is added to the query of the URL.
        headers: their names and values. They are on record, and so in the server's log.
        data: the body: bytes, a text, or the fields of a form.
        json: a body in JSON, in place of `data`.
        timeout: seconds or a timedelta that one try may take; up to a day.
        follow_redirects: whether to ask where a redirect points to, up to ten times.
        expiration: seconds or a timedelta until the call fails with `Expired`.

    Raises:
        TypeError, ValueError: something can't be a part of a request.
    """
    seconds = min(microseconds(timeout, "timeout=") / 1_000_000, _MOST_S)
    made = build(
        method,
        url,
        params=params,
        headers=headers,
        data=data,
        json_of=json,
        timeout=seconds,
        follow_redirects=follow_redirects,
    )
    return send.with_options(timeout=seconds + _ROOM_S, expiration=expiration)(made)


@marks.operation()
def get(url: str, **options: Unpack[Options]) -> Call[Response]:
    """GET a URL; see `request`."""
    return request("GET", url, **options)


@marks.operation()
def head(url: str, **options: Unpack[Options]) -> Call[Response]:
    """Ask for the headers that `get` would have; see `request`."""
    return request("HEAD", url, **options)


@marks.operation()
def post(url: str, **options: Unpack[WithBody]) -> Call[Response]:
    """POST to a URL; see `request`."""
    return request("POST", url, **options)


@marks.operation()
def put(url: str, **options: Unpack[WithBody]) -> Call[Response]:
    """PUT to a URL; see `request`."""
    return request("PUT", url, **options)


@marks.operation()
def patch(url: str, **options: Unpack[WithBody]) -> Call[Response]:
    """PATCH what a URL names; see `request`."""
    return request("PATCH", url, **options)


@marks.operation()
def delete(url: str, **options: Unpack[WithBody]) -> Call[Response]:
    """DELETE what a URL names; see `request`."""
    return request("DELETE", url, **options)

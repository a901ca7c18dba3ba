"""A request, as it goes over the wire to where it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urlencode, urlsplit

Params: TypeAlias = Mapping[str, object] | Sequence[tuple[str, object]]

_TOKEN: Final = frozenset(
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


@dataclass(frozen=True, slots=True)
class Request:
    """`timeout` is in seconds, of one try from its connection to the last byte of the answer."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout: float = 30.0
    follow_redirects: bool = True

    @property
    def shown(self) -> str:
        """The URL as messages have it: without what may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def build(
    method: object,
    url: object,
    *,
    params: Params | None,
    headers: Mapping[str, str] | None,
    data: object,
    json_of: object,
    timeout: float,
    follow_redirects: bool,
) -> Request:
    """Make a request of what a caller gave. `json_of` is a value, or `NO_JSON`.

    Raises:
        TypeError, ValueError: something can't be a part of one.
    """
    found = {_name(name): _value(name, value) for name, value in (headers or {}).items()}
    kind, body = _body(data, json_of)
    if kind and not any(name.lower() == "content-type" for name in found):
        found["Content-Type"] = kind
    return Request(_method(method), _url(url, params), found, body, timeout, bool(follow_redirects))


NO_JSON: Final = object()
"""No JSON was given; None is a value of it."""


def _method(method: object) -> str:
    if not isinstance(method, str) or not method or not _TOKEN.issuperset(method):
        raise ValueError(f'{method!r} is no method of HTTP: write "GET", "POST" and so on.')
    return method.upper()


def _url(url: object, params: Params | None) -> str:
    if not isinstance(url, str):
        raise TypeError(f"a URL has to be a text, and is {url!r:.80}.")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r:.200} is no URL of HTTP: write https://example.com/path.")
    if not params:
        return url
    query = urlencode(params, doseq=True)
    return parts._replace(query="&".join(one for one in (parts.query, query) if one)).geturl()


def _name(name: object) -> str:
    if not isinstance(name, str) or not name or not _TOKEN.issuperset(name):
        raise ValueError(f"{name!r:.80} is no name of a header.")
    return name


def _value(name: str, value: object) -> str:
    if not isinstance(value, str) or any(char in value for char in "\r\n\0"):
        raise ValueError(f"the header {name} has to be a text of one line, and is {value!r:.80}.")
    return value


def _body(data: object, json_of: object) -> tuple[str, bytes]:
    """The Content-Type that goes with it, and the body."""
    if json_of is not NO_JSON:
        if data is not None:
            raise TypeError("a request has one body: write json= or data=, not both.")
        return "application/json", json.dumps(json_of, ensure_ascii=False, allow_nan=False).encode()
    if data is None:
        return "", b""
    if isinstance(data, str):
        return "text/plain; charset=utf-8", data.encode()
    if isinstance(data, Mapping):
        return "application/x-www-form-urlencoded", urlencode(data, doseq=True).encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return "application/octet-stream", bytes(data)
    raise TypeError(f"data= has to be bytes, a text or a dict, and is {data!r:.80}.")

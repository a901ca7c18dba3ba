"""What keeps web pages away from an API without keys.

Such an API listens on loopback, and so does the browser of the operator: any page that is open in
it can send requests there. It can't do so without an `Origin` that names the page's own host, nor,
when it has its own name resolve to 127.0.0.1 (DNS rebinding), without a `Host` of that name. Where
keys are set, a page would have to know one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web

from dispatcher.api.entrance import Guard
from dispatcher.api.errors import ApiError

_NO_HOST = re.compile(r"[^A-Za-z0-9._:\[\]-]")


def page_guard(host: str, *, known: Callable[[web.Request], None]) -> Guard:
    """Make the guard that refuses pages of other sites.

    `host` is the one that is listened on; it and the names and addresses of loopback are right.
    `known` is told of requests that are let through.
    """

    def refuse_pages(request: web.Request) -> None:
        _check(request.headers.getall("Host", []), request.headers.getall("Origin", []), host)
        _refuse_embedding(request)
        known(request)

    return refuse_pages


def _check(hosts: list[str], origins: list[str], own_host: str) -> None:
    # Without Host it is HTTP/1.0, which no browser speaks.
    if not all(is_own(one, own_host) for one in hosts):
        raise ApiError(
            403,
            "host_refused",
            "Without API_KEYS the API answers to addresses, names without a dot and the host of "
            "API_LISTEN only; use one of them, or set API_KEYS.",
        )
    if not all(is_same(one, hosts) for one in origins):
        raise ApiError(
            403,
            "origin_refused",
            "A web page of another site may not use the API; without a browser, leave out Origin.",
        )


def _refuse_embedding(request: web.Request) -> None:
    """Images and scripts are asked for without `Origin`; a page full of them could take every place
    at `/v1/events`. A link that a person follows is no such thing."""
    is_foreign = request.headers.get("Sec-Fetch-Site") == "cross-site"
    if is_foreign and request.headers.get("Sec-Fetch-Mode") != "navigate":
        raise ApiError(
            403, "origin_refused", "A web page of another site may not use the API; open it itself."
        )


def is_own(host: str, own_host: str) -> bool:
    """Say whether the value of a `Host` header means this machine."""
    if _NO_HOST.search(host):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    name = name.removesuffix(".")
    return name == own_host.lower() or _is_local(name)


def is_same(origin: str, hosts: list[str]) -> bool:
    """Say whether the value of an `Origin` header is the site that the request is sent to."""
    try:
        authority = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    return bool(authority) and [authority] == [one.lower() for one in hosts]


def _is_local(name: str) -> bool:
    """An address, or a name that no stranger can have: one without a dot, or below localhost."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(".localhost"))
    return True

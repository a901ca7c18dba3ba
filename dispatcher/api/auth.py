"""Who may use the API: `Authorization: Bearer KEY`, when keys are set, and what with which key."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import assert_never

from aiohttp import web

from dispatcher.api.audit import Audit, key_name
from dispatcher.api.entrance import Guard
from dispatcher.api.errors import ApiError
from dispatcher.api.routes import SAFE_METHODS
from dispatcher.core.keys import Key, Keyring, Role

shown_key: ContextVar[Key | None] = ContextVar("shown_key", default=None)
"""The key that the request under way has shown; None where no keys are set."""


def application() -> str:
    """The application that makes the request under way: the name of its key, "" without keys."""
    key = shown_key.get()
    return "" if key is None else key.name


def only() -> str | None:
    """The application whose calls the request under way may see; None: it may see all."""
    key = shown_key.get()
    return key.name if key is not None and key.role is Role.DISPATCH else None


def key_guard(
    keys: Keyring,
    *,
    roles: Callable[[web.Request], frozenset[Role] | None],
    known: Callable[[web.Request, Key], None],
    audit: Audit,
) -> Guard:
    """Make the guard that asks for a key.

    `roles` are those that may make a call; None: its method says it.

    Paths that do not exist need one too, so that strangers cannot find out which do. `known` is
    told of requests with a right key, whatever it may do, and of the key; `audit` of those that are
    refused.
    """

    def ask_for_key(request: web.Request) -> None:
        key = keys.find(shown(request))
        if key is None:
            audit.refused(request, name=None, error="key_invalid")
            raise ApiError(
                401,
                "key_invalid",
                "Send one of the keys in API_KEYS as `Authorization: Bearer KEY`.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        known(request, key)
        key_name.set(key.name)
        shown_key.set(key)
        needed = roles(request)
        if not (may(key.role, request.method) if needed is None else key.role in needed):
            audit.refused(request, name=key.name, error="key_forbidden")
            raise forbidden(key, needed)

    return ask_for_key


def may(role: Role, method: str) -> bool:
    """Say whether a key of that role may make a call of that method."""
    match role:
        case Role.ADMIN:
            return True
        case Role.READ:
            return method in SAFE_METHODS
        case Role.DISPATCH:
            return False  # what an application may do says so by itself
        case _:
            assert_never(role)


def forbidden(key: Key, roles: frozenset[Role] | None) -> ApiError:
    """The refusal of a key whose role is none of `roles`; None: those of the call's method."""
    if roles is not None:
        needed = " or ".join(sorted(f"{role.value!r}" for role in roles))
    else:
        needed = "'admin'" if key.role is Role.READ else "'admin', or for looking at things 'read'"
    return ApiError(
        403,
        "key_forbidden",
        f"The key {key.name!r} has the role {key.role.value!r}, which may not do this: use a key "
        f"with the role {needed}.",
    )


def shown(request: web.Request) -> bytes:
    """The key that a request shows; b"", which is none, where it shows no key or two."""
    values = request.headers.getall("Authorization", [])
    if len(values) != 1:
        return b""
    scheme, _, key = values[0].partition(" ")
    # aiohttp reads headers in this way; turned around, every byte is as it came.
    return key.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""

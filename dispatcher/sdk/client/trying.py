"""How often a request is tried: until it is answered, or its time is over.

    no connection                              tried again
    connection lost while it was answered      tried again, if that means the same as once
    HTTP 408, 429, 5xx but 501                 likewise; not before its Retry-After
    429 with `resource_exhausted`, 501, TLS    final: it would be the same another time
    everything else                            an answer

The first time it is tried again at once, for what was lost may have been a connection that had been
idle for too long; then after 0.1 s, which doubles up to 5 s, with jitter. The log says once that
it waits: half a minute without a word looks as if the program hung.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from dispatcher.protocol.connect import Code, error_of
from dispatcher.sdk.client.errors import ClientError, Unreachable
from dispatcher.sdk.client.exchange import Came, Conversation, Lost, Pause, Reply, Request, Send
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.written import API_URL

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
_LEAST_S: Final = 0.05
"""Nobody is given less time to answer."""
_BYTES_A_SECOND: Final = 1_000_000
"""A slow line: what a large body may take beside the answer."""
_TOLD_AT_TRY: Final = 4
"""After half a second or so: a server that is only starting again is none of anybody's concern."""
_TOLD_EVERY_S: Final = 30.0
_log: Final = logging.getLogger("dispatcher.sdk")
_REFUSED_FOR_NOW: Final = frozenset({"starting", "recovering", "api_busy", "too_many_wait"})
"""Slugs of a 503 with which nothing was begun."""


@dataclass(slots=True)
class Telling:
    """Says in the log that a server is away: for a thousand requests that wait, once in 30 s."""

    again_s: float = 0.0

    def tell(self, server: Server, came: Came, left_s: float, now_s: float) -> None:
        """Say it, unless it was said. `left_s` is for how long the request is tried yet."""
        if now_s < self.again_s:
            return
        self.again_s = now_s + _TOLD_EVERY_S
        why = f": {came.reason}" if isinstance(came, Lost) else ""
        _log.warning(
            "No answer from %s (%s) yet%s. It is asked again, for %.0f s at most.",
            server.url,
            server.url_from,
            why,
            left_s,
        )


@dataclass(frozen=True, slots=True)
class Tries:
    """What conversations need beside the server. `now_s` is a monotonic clock, `jitter` gives
    numbers from 0 to 1; `patience_s` is how long a server may be away."""

    now_s: Callable[[], float]
    jitter: Callable[[], float]
    patience_s: float
    telling: Telling = field(default_factory=Telling)


def answered(server: Server, request: Request, tries: Tries) -> Conversation[Reply]:
    """Send a request until there is an answer that is final.

    Raises:
        Unreachable: there was none in `patience_s`; where the server waits with its answer, from
            when that was first lost.
        ClientError: it would be the same another time.
    """
    ends_s = tries.now_s() + tries.patience_s
    tried = 0
    may_be_done = False
    while True:
        tried += 1
        left_s = max(ends_s - tries.now_s(), _LEAST_S)
        allowed_s = request.within_s + len(request.body) / _BYTES_A_SECOND
        came = yield Send(request, allowed_s if request.is_waiting else min(allowed_s, left_s))
        if isinstance(came, Reply) and not _is_passing(came):
            return replace(came, is_of_retry=may_be_done)
        may_be_done |= isinstance(came, Reply) or (isinstance(came, Lost) and came.was_sent)
        if request.is_waiting and tried == 1:
            ends_s = tries.now_s() + tries.patience_s
        delay_s = _delay_s(came, tried, tries.jitter())
        is_late = tries.now_s() + delay_s >= ends_s
        if is_late or not _may_come_again(came, request):
            if isinstance(came, Reply):
                return came
            raise _given_up(server, request, came, tried)
        if tried == _TOLD_AT_TRY:
            tries.telling.tell(server, came, ends_s - tries.now_s(), tries.now_s())
        yield Pause(delay_s)


def _is_passing(reply: Reply) -> bool:
    """Whether another time the answer may be another."""
    if reply.status == 429:
        return error_of(429, reply.body).code is not Code.RESOURCE_EXHAUSTED
    return reply.status == 408 or (500 <= reply.status <= 599 and reply.status != 501)


def _may_come_again(came: Came, request: Request) -> bool:
    match came:
        case Lost(is_final=True):
            return False
        case Lost(was_sent=False):
            return True
        case Reply(status=503, body=body) if not request.is_repeatable:
            return any(f'"{slug}"'.encode() in body for slug in _REFUSED_FOR_NOW)
        case _:
            return request.is_repeatable


def _delay_s(came: Came, tried: int, jitter: float) -> float:
    if isinstance(came, Lost) and came.was_sent and tried == 1:
        return 0.0
    longest_s = min(FIRST_DELAY_S * 2.0 ** min(tried - 1, 10), LONGEST_DELAY_S)
    delay_s = longest_s * (0.5 + jitter / 2)
    asked = came.headers.get("retry-after", "") if isinstance(came, Reply) else ""
    is_number = asked.isascii() and asked.isdigit() and len(asked) < 6
    return max(delay_s, float(asked)) if is_number else delay_s


def _given_up(server: Server, request: Request, came: Came, tried: int) -> ClientError:
    assert isinstance(came, Lost), "answers are returned"
    times = f", tried {tried} times" if tried > 1 else ""
    if came.is_final:
        return ClientError(
            f"{server.url} ({server.url_from}): {came.reason}.",
            status=came.status,
        )
    perhaps = ""
    if came.was_sent and not request.is_repeatable:
        perhaps = " It may have done it all the same, so it was not asked again."
    return Unreachable(
        f"No answer from {server.url} ({server.url_from}): {came.reason}{times}.{perhaps} Is the "
        f"server running, and {API_URL.variable} its API_LISTEN?",
        status=came.status,
    )

"""Requests that do not become messages: what they are answered, and what becomes of their bodies.

Health checks of load balancers are such requests, and so is everything that is refused once
its head is read.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dispatcher.ingress import answers, refusals
from dispatcher.ingress.forward import is_path
from dispatcher.ingress.head import CHUNKED, EXPECT, Head
from dispatcher.ingress.refusals import RequestError
from dispatcher.ingress.shared import Shared

_MAX_DROPPED_BODY_BYTES: Final = 256 * 1024


class LocalAnswer(NamedTuple):
    """What to do with a request that does not become a message.

    `answer`    the whole answer.
    `skipped`   how many of the bytes that arrived after the head are its body.
    `owed`      how many bytes of its body are still to come, and to be dropped.
    `ends`      nothing more is read from the connection.
    """

    answer: bytes
    skipped: int
    owed: int
    ends: bool


def answer_locally(head: Head, arrived: int, refused: RequestError, shared: Shared) -> LocalAnswer:
    """Decide about a request that was refused; `arrived` bytes are there after its head.

    Its body is read to the end only where the end is known and near. Counts the refusal.
    """
    is_known = head.length != CHUNKED and not refused.fatal
    owed = max(head.length - arrived, 0)
    style = head.style
    if (
        shared.stopping
        or not is_known
        or owed > _MAX_DROPPED_BODY_BYTES
        or (owed and EXPECT in head.found)
    ):
        style |= answers.CLOSE
    answer = None
    if refused.refusal.slug == refusals.ORIGIN_MISSING.slug:
        answer = _health(head, style, shared)
    if answer is None:
        shared.count_refusal(refused.refusal)
        answer = answers.refused(refused.refusal, style=style, date=shared.date)
    return LocalAnswer(
        answer,
        skipped=head.length - owed if is_known else 0,
        owed=owed,
        ends=bool(style & answers.CLOSE),
    )


def _health(head: Head, style: int, shared: Shared) -> bytes | None:
    """The answer to a load balancer, or None if the request is not from one."""
    if head.method not in {b"GET", b"HEAD"}:
        return None
    if is_path(head, b"/healthz"):
        return answers.health(200, b'{"status": "ok"}', style=style, date=shared.date)
    if is_path(head, b"/readyz"):
        ready = shared.health()
        return answers.health(ready.status, ready.body, style=style, date=shared.date)
    return None

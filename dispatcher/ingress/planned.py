"""Messages of schedules, made as a caller's request would be: the same head is read, and what would
be refused there is refused here."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import Final

from dispatcher.core.destination import group_in
from dispatcher.core.idempotency import begin_print, print_of
from dispatcher.core.message import Message
from dispatcher.core.option_reading import BadOption, Options, read_options
from dispatcher.core.option_values import At
from dispatcher.core.options import BY_KEY, IDEMPOTENCY_KEY, NOT_BEFORE, ORIGIN, PREFIX, Option
from dispatcher.core.tokens import TOKEN
from dispatcher.ingress.config import IngressConfig
from dispatcher.ingress.forward import forward
from dispatcher.ingress.head import Kinds, read_head
from dispatcher.ingress.refusals import MAX_HEAD_BYTES, RequestError
from dispatcher.schedules.messages import MOST_BODY_BYTES
from dispatcher.schedules.plans import PlannedMessage
from dispatcher.schedules.surface import ScheduleInvalid

_CONFIG: Final = IngressConfig("", 0, max_body=MOST_BODY_BYTES)
_KINDS: Final = Kinds()
_TOKEN: Final = re.compile(TOKEN.decode("ascii"))
_OURS: Final = ("host", "content-length", "transfer-encoding")
_NOT_HERE: Final = {
    IDEMPOTENCY_KEY.key: "each firing has its own, NAME@TIME",
    NOT_BEFORE.key: "it would be the same instant for every firing; `delay` counts from each",
    "wait": "nobody waits for the answer",
}


def check_message(planned: PlannedMessage, now_us: int) -> None:
    """Check what can be wrong with a planned message.

    Raises:
        ScheduleInvalid: something is.
    """
    message_of(planned, "key", now_us)


def message_of(planned: PlannedMessage, key: str, now_us: int) -> Message:
    """The message that is planned, accepted then, with this idempotency key.

    Raises:
        ScheduleInvalid: there can be none.
    """
    options = _options(planned)
    size = len(planned.body)
    if size > MOST_BODY_BYTES:
        raise ScheduleInvalid(
            f"body has {size} bytes, and {MOST_BODY_BYTES} is the most of a schedule: let the "
            "destination fetch what is larger."
        )
    if not _TOKEN.fullmatch(planned.method):
        raise ScheduleInvalid(f"method {planned.method[:100]!r}: it is a token, such as POST.")
    if not planned.target.startswith("/"):
        raise ScheduleInvalid(f"target {planned.target[:100]!r}: it begins with a slash.")
    if group_in(planned.destination.encode("utf-8", "surrogatepass")) is not None:
        raise ScheduleInvalid("destination: it is a place; for a group, make a schedule for each.")
    lines = [
        f"{planned.method} {planned.target} HTTP/1.1",
        "Host: scheduled",
        f"{ORIGIN.title}: {planned.destination}",
        *map(_line, planned.headers),
    ]
    if size:
        lines.append(f"Content-Length: {size}")
    try:
        raw = "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError as error:
        raise ScheduleInvalid(
            "destination, method, target and headers are Latin-1: one character a byte."
        ) from error
    if len(raw) > MAX_HEAD_BYTES:
        raise ScheduleInvalid(
            f"destination, method, target and headers have more than {MAX_HEAD_BYTES} bytes."
        )
    try:
        wanted = forward(read_head(raw, _KINDS), _CONFIG)
    except RequestError as error:
        raise ScheduleInvalid(error.refusal.message) from error
    message = Message(
        wanted.destination,
        wanted.head_with_length(size),
        planned.body,
        timeout_ms=options.timeout_ms or 0,
        accepted_at=now_us,
    )
    printer = begin_print(message.head)
    printer.update(message.body)
    message.terms = replace(
        options.terms(now_us), idempotency_key=key, request_print=print_of(printer)
    )
    return message


def _meant(key: str) -> str:
    """What to do about an option that is not known: a sentence."""
    known = [one for one in BY_KEY if one not in _NOT_HERE]
    near = difflib.get_close_matches(key[:100], known, 1)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."


def _options(planned: PlannedMessage) -> Options:
    given: list[tuple[Option, str]] = []
    for key, value in planned.options:
        option = BY_KEY.get(key)
        if option is None:
            raise ScheduleInvalid(f"options.{key[:100]}: there is no such option. {_meant(key)}")
        if key in _NOT_HERE:
            raise ScheduleInvalid(f"options.{key}: leave it out, as {_NOT_HERE[key]}.")
        if option.read(value) is None:
            raise ScheduleInvalid(f"options.{key}: it is {option.takes}.")
        given.append((option, value))
    try:
        options = read_options(given, 0)
    except BadOption as error:
        raise ScheduleInvalid(str(error)) from error
    if isinstance(options.deadline, At):
        raise ScheduleInvalid(
            "options.deadline: give a duration, which counts from each firing, and no instant."
        )
    return options


def _line(header: tuple[str, str]) -> str:
    name, value = header
    lower = name.lower()
    if lower in _OURS:
        raise ScheduleInvalid(f"headers: leave out {name}, which the dispatcher sets itself.")
    if lower.startswith(PREFIX.lower()):
        raise ScheduleInvalid(f"headers: leave out {name[:100]}; options go into `options`.")
    if any(character in name + value for character in "\r\n\0"):
        raise ScheduleInvalid("headers: a name or value has no line ends and no NUL.")
    return f"{name}: {value}"

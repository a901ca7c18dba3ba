"""Types of fields and parameters: how each is checked on its way in and spelled on its way out.

What has a slug of its own is refused with it; everything else gets the slug of the place it is in
(`reading`). Each type says in JSON Schema what it takes, so that /openapi.json does.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from dispatcher.api import cursor, instants
from dispatcher.api.all_lanes import CALLS
from dispatcher.api.errors import ApiError
from dispatcher.core.calls import ERROR_TYPE, STATUS_WORDS
from dispatcher.core.destination import Destination, Origin
from dispatcher.core.instants import rfc3339
from dispatcher.core.option_values import YEAR_MS
from dispatcher.core.options import LABEL, ORDER_KEY
from dispatcher.core.outcome import Failure
from dispatcher.core.rate import RATE_EXPECTED, Rate, parse_rate
from dispatcher.core.units import DURATION_EXPECTED, duration_ms

_ID = re.compile(r"[0-9a-f]{28}")
_WORDS = tuple(dict.fromkeys((*(failure.value for failure in Failure), *STATUS_WORDS[2:])))
_ERROR = re.compile(
    f"^({'|'.join(_WORDS)}|http_[1-5][0-9]{{2}}|status_[0-9]{{1,3}}|error(:{ERROR_TYPE})?)$"
)
_ENDPOINT = re.compile(r"(bridge|promise|channel):[^\x00-\x1f\x7f]{1,300}")
MOST_A_SECOND = 100_000
_SHOWN_CHARACTERS = 100
_LANE_CHARACTERS = 600
"""A session and the application whose it is are shorter."""


def spelling(destination: str) -> str:
    """Normalise a destination, `host[:port]` or `scheme://host[:port]`.

    Raises:
        ApiError: 400, saying what is wrong.
    """
    try:
        return str(Destination.parse(destination))
    except ValueError as error:
        raise ApiError(
            400, "destination_invalid", f"{_shown(destination)} is no destination: {error}."
        ) from error


def place_spelling(place: str) -> str:
    """Normalise a destination, or the endpoint of a function call, which may have a path.

    Raises:
        ApiError: 400, saying what is wrong.
    """
    if _ENDPOINT.fullmatch(place):
        return place
    if "://" not in place:
        return spelling(place)
    try:
        origin = Origin.parse(place.encode("utf-8", "surrogatepass"))
    except ValueError:
        return spelling(place)
    return str(origin)


def _origin_spelling(origin: str) -> str:
    try:
        return str(Origin.parse(origin.encode("utf-8", "surrogatepass")))
    except ValueError as error:
        raise ApiError(
            400, "destination_invalid", f"{_shown(origin)} is no destination: {error}."
        ) from error


def _lane_spelling(place: str) -> str:
    if not place.startswith(CALLS):
        return spelling(place)
    if len(place) > len(CALLS) + _LANE_CHARACTERS:
        raise ValueError("it is longer than any destination")
    return place


def checked_id(value: str, of: str = "a message") -> str:
    """An id as it came.

    Raises:
        ApiError: 400, it is none.
    """
    if not _ID.fullmatch(value):
        raise ApiError(
            400,
            "id_invalid",
            f"{_shown(value)} is no id of {of}: 28 hexadecimal digits in lower case.",
        )
    return value


def _checked_call_id(value: str) -> str:
    return checked_id(value, "a call")


def _decoded_cursor(value: object) -> int:
    try:
        return cursor.decode(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ApiError(
            400, "cursor_invalid", f"{_shown(value)} is no cursor: {error}; leave it out to begin."
        ) from error


def _shown(value: object) -> str:
    """A caller's own word in a message, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _parsed_instant(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("it is not text, like 2026-01-31T12:00:00Z")
    return instants.parse(value)


def rate_of(value: object) -> Rate | None:
    """Read a rate as jobs are given it: so many a second, or a text. None: it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Rate(value, 1_000_000) if 1 <= value <= MOST_A_SECOND else None
    return parse_rate(value) if isinstance(value, str) else None


def _pace(value: object) -> object:
    if rate_of(value) is None:
        raise ValueError(f"expected how many a second, 1 to {MOST_A_SECOND}, or {RATE_EXPECTED}")
    return value


def _rate(value: object) -> Rate:
    found = parse_rate(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"it is no rate: {RATE_EXPECTED}")
    return found


def _label(value: str) -> str:
    if LABEL.read(value) != value:
        raise ValueError(f"it is no label: expected {LABEL.takes}")
    return value


def _order_key(value: str) -> str:
    if ORDER_KEY.read(value) != value:
        raise ValueError(f"it is no order key: expected {ORDER_KEY.takes}")
    return value


def _method(value: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", value):
        raise ValueError("it is no method, such as POST")
    return value


def _target(value: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,8192}", value):
        raise ValueError("it is not how a request target begins, such as /hooks/")
    return value


def _span_us(value: object) -> int:
    found = duration_ms(value) if isinstance(value, str) else None
    if found is None or found > YEAR_MS * 10:
        raise ValueError(f"it is no duration, {DURATION_EXPECTED}; at most ten years")
    return found * 1000


def _known_error(value: str) -> str:
    if not _ERROR.fullmatch(value):
        words = ", ".join(_WORDS)
        raise ValueError(
            f"expected one of {words}, a status such as http_404, or an error of an application "
            "such as error:ValueError"
        )
    return value


def digits(value: object) -> object:
    """A number that is a parameter, in digits only: int() takes blanks and underscores too.

    Raises:
        ValueError: it is text, and something else.
    """
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError("it is not a number in digits")
    return value


def _decoded(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _only_true(value: object) -> object:
    if value is not True:  # Literal[True] alone takes 1, as it equals it
        raise ValueError("it is not true")
    return value


_ID_SCHEMA = WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{28}$"})

MessageId = Annotated[str, AfterValidator(checked_id), _ID_SCHEMA]
"""The id of a message, else `id_invalid`."""

Incomplete = Annotated[
    list[int],
    Field(
        exclude_if=lambda incomplete: not incomplete,
        description="Partitions that do not answer, and of which nothing is in this. Left out where"
        " there are none.",
    ),
]
ManyIds = list[Annotated[str, _ID_SCHEMA]]
"""Ids of messages, thousands maybe: those that came are checked in portions (`checked_id`), and
those that the queue says need no check."""

CallId = Annotated[
    str,
    AfterValidator(_checked_call_id),
    _ID_SCHEMA,
]
"""The id of a call, else `id_invalid`."""

DestinationIn = Annotated[
    str,
    AfterValidator(spelling),
    WithJsonSchema(
        {
            "type": "string",
            "description": "`host[:port]` or `scheme://host[:port]`; http when no scheme is there.",
            "pattern": r"^([Hh][Tt][Tt][Pp][Ss]?://)?[A-Za-z0-9._\[\]:-]+/?$",
            "examples": ["https://example.com", "example.com:8080"],
        }
    ),
]
"""A destination in any spelling, else `destination_invalid`; in the one spelling from then on."""

RateIn = Annotated[
    Rate,
    BeforeValidator(_rate),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{1,9}/[0-9]{0,6}[smhd]$",
            "examples": ["50/s", "10/1m"],
        }
    ),
]
"""How often something may happen."""

PaceIn = Annotated[
    int | str,
    BeforeValidator(_pace),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_A_SECOND},
                {"type": "string", "pattern": "^[0-9]{1,9}/[0-9]{0,6}[smhd]$"},
            ],
            "examples": [50, "10/1m"],
        }
    ),
]
"""How fast a job goes, as it was sent: what `rate_of` reads."""

LabelIn = Annotated[
    str,
    AfterValidator(_label),
    WithJsonSchema({"type": "string", "pattern": r"^[\x21-\x7e]{1,64}$"}),
]
"""The label of a message, as its caller gave it."""

OrderKeyIn = Annotated[
    str,
    AfterValidator(_order_key),
    WithJsonSchema({"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"}),
]
"""The order key of a message, as its caller gave it."""

MethodIn = Annotated[
    str,
    AfterValidator(_method),
    WithJsonSchema({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"}),
]
"""A method, spelled as the caller spelled it."""

TargetIn = Annotated[
    str,
    AfterValidator(_target),
    WithJsonSchema({"type": "string", "pattern": r"^[\x21-\x7e]{1,8192}$"}),
]
"""What a request target begins with."""

SpanIn = Annotated[
    int,
    BeforeValidator(_span_us),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^([0-9]{1,9}|([0-9]{1,3}d)?([0-9]{1,3}h)?([0-9]{1,5}m)?([0-9]{1,7}s)?)$",
            "minLength": 1,
            "examples": ["5m", "1h30m"],
        }
    ),
]
"""A duration; microseconds from then on."""

OriginIn = Annotated[
    str,
    AfterValidator(_origin_spelling),
    WithJsonSchema(
        {
            "type": "string",
            "description": "`host[:port]` or `scheme://host[:port]`, with a base path or without.",
            "pattern": r"^([Hh][Tt][Tt][Pp][Ss]?://)?[A-Za-z0-9._\[\]:-]+(/[\x21-\x7e]*)?$",
            "examples": ["https://example.com", "example.com:8080/base"],
        }
    ),
]
"""A destination with a base path, else `destination_invalid`; in the one spelling from then on."""

LanePartIn = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]
"""A part of the name of a destination."""

LaneCursorIn = Annotated[
    str,
    AfterValidator(_lane_spelling),
    WithJsonSchema({"type": "string", "pattern": r"^(call:[\x21-\x7e]*|[A-Za-z0-9._\[\]:/-]+)$"}),
]
"""The destination behind which a page of lanes begins; of a page of calls, `call:` and a name."""

PlaceIn = Annotated[
    str,
    AfterValidator(place_spelling),
    WithJsonSchema(
        {
            "type": "string",
            "description": "Of messages `host[:port]` or `scheme://host[:port]`, http when no "
            "scheme is there; of calls their endpoint.",
            "pattern": r"^((bridge|promise|channel):[^\x00-\x1f\x7f]{1,300}|"
            r"[Hh][Tt][Tt][Pp][Ss]?://[A-Za-z0-9._\[\]:-]+(/[\x21-\x7e]*)?|"
            r"[A-Za-z0-9._\[\]:-]+/?)$",
            "examples": ["https://example.com", "example.com:8080"],
        }
    ),
]
"""Where a dead letter was going, else `destination_invalid`; in the one spelling from then on."""

FunctionName = Annotated[str, Field(max_length=1000, pattern=r"^[a-zA-Z0-9_<>.]*$")]
"""The name of a function, as its call has it."""

InstantIn = Annotated[
    int,
    BeforeValidator(_parsed_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00Z"]}),
]
"""RFC 3339 with any offset; microseconds since the epoch from then on."""

InstantOut = Annotated[
    int,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339, UTC, with microseconds.",
            "examples": ["2026-01-31T12:00:00.000000Z"],
        }
    ),
]
"""Microseconds since the epoch, spelled in UTC with microseconds."""

CursorIn = Annotated[
    int,
    BeforeValidator(_decoded_cursor),
    WithJsonSchema({"type": "string", "description": "The `next` of the page before."}),
]
"""Where a page begins, else `cursor_invalid`; the number inside from then on."""

Slug = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64), Field(examples=["timeout"])
]
LastError = Annotated[
    str, AfterValidator(_known_error), WithJsonSchema({"type": "string", "pattern": _ERROR.pattern})
]
"""What an attempt came to, as `core.outcome.cause` has it."""
# Bounds stand before the validator: after it they would be checked, but not be in the schema.
Status = Annotated[int, Field(ge=100, le=599), BeforeValidator(digits)]
PageSize = Annotated[int, Field(ge=1, le=1000), BeforeValidator(digits)]
Text = Annotated[str, BeforeValidator(_decoded)]
"""Text, or bytes that are shown as UTF-8 as far as they are."""
YesOrNo = Literal["true", "false"]
"""A parameter that is one or the other."""
Everything = Annotated[Literal[True], BeforeValidator(_only_true)]
"""A selector that must be spelled out."""

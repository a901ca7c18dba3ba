"""Values of calls as JSON: on their way in from outside, and on their way out to people.

Applications say what a value is in a `google.protobuf.Any`; the server never looks at theirs. Here
JSON becomes the well-known type that the SDKs make of the same value in their language, and those
types are shown as JSON (`protocol.values`). Everything else is shown as its name and its bytes.
"""

from __future__ import annotations

import base64
from typing import Any as AnyJson

from dispatcher.protocol.messages import Any
from dispatcher.protocol.values import Opaque, from_any, to_any, to_shown


def any_of(value: AnyJson) -> Any:
    """A JSON value as applications expect it: numbers in lists and objects are doubles.

    Raises:
        ValueError: an integer has more than 64 bits, or the value is nested too deeply.
    """
    return to_any(value)


def text_of(text: str) -> Any:
    """Text as applications expect it.

    Raises:
        ValueError: it holds half of a pair of surrogates.
    """
    return to_any(text)


def shown(value: Any) -> tuple[str, AnyJson, str | None]:
    """A value for people: the name of its type, the value as JSON, and its bytes as Base64 where it
    can't be shown as JSON (which is None then)."""
    name = value.type_url.rpartition("/")[2]
    found = from_any(value)
    if isinstance(found, Opaque):
        return name, None, base64.b64encode(value.value).decode("ascii")
    return name, to_shown(found), None

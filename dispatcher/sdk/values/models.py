"""Models of pydantic: each is sent as the JSON that it makes of itself, and validated on arrival.

pydantic is never imported here; a model is there only if it was.
"""

from __future__ import annotations

import json
import sys
from typing import Any as Anything

from dispatcher.sdk.values.codec import Codec, misfit
from dispatcher.sdk.values.misfit import Misfit, named
from dispatcher.sdk.values.writing import Record

_MOST_ERRORS = 3


def is_model(kind: object) -> bool:
    """Whether it is a class of pydantic's models."""
    pydantic = sys.modules.get("pydantic")
    base = getattr(pydantic, "BaseModel", None)
    return isinstance(kind, type) and base is not None and issubclass(kind, base)


def model(kind: Anything) -> Codec:
    """Serve a class of models. Their own aliases and validators count."""
    name = kind.__name__
    is_root = "root" in kind.model_fields  # sent as what is in it, which need not be a dict
    is_by_alias = _has_one_alias(kind)

    def lower(value: object) -> object:
        if type(value) is not kind:
            raise misfit(name, value)
        try:
            dumped = value.model_dump(mode="json", by_alias=is_by_alias, round_trip=True)  # type: ignore[attr-defined]
        except (ValueError, TypeError) as error:
            raise Misfit(f"is {name}, which has no JSON: {error}") from error
        return Record(name, dumped) if isinstance(dumped, dict) else dumped

    def lift(value: object) -> object:
        if not is_root and not isinstance(value, dict):
            raise misfit(name, value)
        try:
            return _validated(kind, value)
        except ValueError as error:
            raise Misfit(f"is no {name}: {_told(error)}") from error

    def fields() -> frozenset[str]:
        return frozenset(field.alias or key for key, field in kind.model_fields.items())

    return Codec(named(kind), lower, lift, (kind,), fields=None if is_root else fields, rank=40)


def _has_one_alias(kind: Anything) -> bool:
    """Whether it can read what it writes by its aliases; else names are sent."""
    fields = kind.model_fields.values()
    return all(field.serialization_alias == field.validation_alias for field in fields)


def _validated(kind: Anything, value: object) -> object:
    try:
        text = json.dumps(value)
    except TypeError:  # values that JSON has not, from a sender in Python
        return kind.model_validate(value, by_alias=True, by_name=True)
    return kind.model_validate_json(text, by_alias=True, by_name=True)


def _told(error: Anything) -> str:
    """What a ValidationError says, on one line."""
    try:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        told = [f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in found]
    except (AttributeError, TypeError, KeyError):
        return str(error)
    more = f" (and {len(told) - _MOST_ERRORS} more)" if len(told) > _MOST_ERRORS else ""
    return "; ".join(told[:_MOST_ERRORS]) + more

"""Settings, rules and the like, as a parent hands them to its children: bytes that only they read.

A frozen dataclass is made anew from its fields. By itself a pickle would set them one by one, which
a compiled one refuses.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import fields, is_dataclass
from typing import Any


def encode(handed: object) -> bytes:
    """Write it."""
    written = io.BytesIO()
    _Pickler(written).dump(handed)
    return written.getvalue()


def decode(encoded: bytes) -> Any:
    """Read what `encode` wrote, in a process of the same program."""
    return pickle.loads(encoded)


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """See `pickle.Pickler`."""
        if isinstance(obj, type) or not is_dataclass(obj):
            return NotImplemented
        values = {field.name: getattr(obj, field.name) for field in fields(obj) if field.init}
        return _made, (type(obj), values)


def _made(type_: type, values: dict[str, Any]) -> Any:
    return type_(**values)

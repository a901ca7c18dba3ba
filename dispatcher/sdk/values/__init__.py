"""Values of Python as bytes that have a type, by type hint, and back.

    value ──lower, by hint──▶ plain value ──wire──▶ replay.model.Value

Plain values need no hint: None, bool, int of any size, float, str, bytes, datetime with a time
zone, date, time, timedelta, UUID, Decimal, and list, tuple, set, frozenset and dict of these. They
come back as what they were. On the wire they are the protocol's well-known types; where one of
these does not tell which type it was (a tuple in a list), a mark is added that other readers pass
over. A number in a list or dict that has no mark is an int where it is whole: that is what JSON
means by it, and our own floats have one.

Hints add dataclasses, pydantic models, TypedDict, NamedTuple, Enum, Literal, paths, and unions; a
value that would come back as something else is refused when it is sent.
"""

from dispatcher.sdk.values.arguments import encode_arguments
from dispatcher.sdk.values.coding import decode, encode
from dispatcher.sdk.values.hints import FOREIGN
from dispatcher.sdk.values.pickled import encode_pickled_arguments
from dispatcher.sdk.values.signature import Signature
from dispatcher.sdk.values.understood import decode_arguments

__all__ = [
    "FOREIGN",
    "Signature",
    "decode",
    "decode_arguments",
    "encode",
    "encode_arguments",
    "encode_pickled_arguments",
]

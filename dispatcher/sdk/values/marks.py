"""Marks: of which type a value of Python was, where the plain form does not tell.

A mark is a small number in a field that other readers pass over. They find the plain form, which is
what they would expect: a date as its text in ISO 8601, a tuple as a list. The numbers are on the
wire and in states: none is ever changed or used again.
"""

from __future__ import annotations

from typing import Final

DOUBLE: Final = 1  # a number: a float, though it is whole
INTEGER: Final = 2  # a text: an integer that a double can't hold
BYTES: Final = 3  # a text: bytes in base64
DATETIME: Final = 4  # a text: an instant in RFC 3339, in UTC
DATE: Final = 5  # a text in ISO 8601, as are times
TIME: Final = 6
TIMEDELTA: Final = 7  # a text: seconds with up to six decimals, "1.5s"
UUID: Final = 8  # a text
DECIMAL: Final = 9  # a text
TUPLE: Final = 10  # a list, as are sets
SET: Final = 11
FROZENSET: Final = 12
PAIRS: Final = 13  # a list of lists of a key and a value: a dict with keys that are no texts
INT_KEYS: Final = 14  # a struct: a dict with integers as keys
KEYWORDS: Final = 15  # a struct: the arguments of a call by the names of its parameters
WHOLE: Final = 16  # anything: it is the first argument, not arguments by name
RECORD: Final = 17  # a struct: the fields of an object whose class has a name beside it
EXCEPTION: Final = 18  # a struct: an exception, by dispatcher/sdk/errors/portraits.py

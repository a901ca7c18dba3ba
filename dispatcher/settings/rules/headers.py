"""The headers that a rule adds: a table of names and values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from dispatcher.core.options import PREFIX
from dispatcher.core.rules.rule import Header, Secret
from dispatcher.settings.rules.secrets import read_text

_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS: Final = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""They say where a request ends, or what becomes of its connection: delivery writes them itself."""


def read_headers(raw: object, environ: Mapping[str, str]) -> tuple[Header, ...]:
    """Read headers in the order in which they were written.

    Raises:
        ValueError: a sentence for each header that is wrong.
    """
    if not isinstance(raw, dict):
        raise ValueError('expected a table such as {Authorization = "env:TOKEN"}')
    found: list[Header] = []
    wrong: list[str] = []
    for name, value in raw.items():
        try:
            found.append(_header(str(name), value, environ))
        except ValueError as error:
            wrong.append(str(error))
    names = Counter(str(name).lower() for name in raw)
    wrong += [f"{name} is given twice" for name, count in names.items() if count > 1]
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(found)


def _header(name: str, raw: object, environ: Mapping[str, str]) -> Header:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{ascii(name[:80])[1:-1]} is no name of a header")
    if name.lower() in _OURS:
        raise ValueError(f"{name} is written by the dispatcher itself")
    if name.lower().startswith(PREFIX.lower()):
        raise ValueError(f"{name}: names that begin with {PREFIX} are the dispatcher's own")
    try:
        text, source = read_text(raw, environ)
        if _CONTROL.search(text):
            raise ValueError("it has a line end or another control character in it")
        return Header(name, Secret(text.encode("utf-8"), source))
    except UnicodeEncodeError:
        raise ValueError(f"{name}: it is no text") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None

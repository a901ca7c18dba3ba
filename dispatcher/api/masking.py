"""Headers as they are shown: secrets in them are masked unless somebody who may asks for them.

Whoever looks at a message wants to know what it is; few need what it logs in with. So of a header
that holds a secret its name is shown, the scheme of its value (`Bearer ***`), and nothing else. A
key with the role `admin` gets all of it with `reveal=true`, and the audit tells that.

Exports are not masked: they are for sending the messages somewhere else, and need `admin`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from pydantic import Field

from dispatcher.api.audit import Action, Audit
from dispatcher.api.auth import forbidden, shown_key
from dispatcher.api.fields import YesOrNo
from dispatcher.api.models import Input
from dispatcher.core.keys import Role

MASK: Final = "***"
SECRET_HEADERS: Final = (
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Set-Cookie",
    "X-Dispatcher-Key",
)
"""They are masked whatever is configured."""
_SCHEME: Final = re.compile(
    rb"(Basic|Bearer|Digest|DPoP|GNAP|HOBA|Hawk|Mutual|Negotiate|NTLM|OAuth|PrivateToken"
    rb"|SCRAM-SHA-1|SCRAM-SHA-256|vapid|AWS4-HMAC-SHA256|SharedKey|ApiKey|Api-Key|Key|Token) +\S",
    re.IGNORECASE,
)
"""Schemes by name: any other first word may be a part of the secret."""
_ONLY_ADMIN: Final = frozenset({Role.ADMIN})

Line = tuple[bytes, bytes]
"""Name and value of a header."""


class Revealing(Input):
    """What is asked of a call that shows headers."""

    reveal: YesOrNo = Field(
        "false",
        description="Secrets in headers as they are: needs a key with the role `admin`.",
    )


@dataclass(frozen=True, slots=True)
class Masking:
    """Which headers are secret, and what is shown of them. `names` are in lower case."""

    names: frozenset[bytes]

    @staticmethod
    def of(names: Iterable[str] = ()) -> Masking:
        """Those that are secret everywhere, and these, in any case of letters."""
        return Masking(
            frozenset(one.lower().encode("latin-1") for one in (*SECRET_HEADERS, *names))
        )

    def is_secret(self, line: Line) -> bool:
        """Whether there is something to mask: an empty value has no secret."""
        name, value = line
        return bool(value) and name.lower() in self.names

    def has_secret(self, lines: Iterable[Line]) -> bool:
        """Whether there is something to mask in headers."""
        return any(map(self.is_secret, lines))

    def masked(self, line: Line) -> tuple[str, str]:
        """A header as it is shown, bytes as Latin-1."""
        name, value = line
        return name.decode("latin-1"), (
            _mask(value) if self.is_secret(line) else value.decode("latin-1")
        )

    def restored(
        self, edited: Sequence[tuple[str, str]], stored: Sequence[Line]
    ) -> list[tuple[str, str]]:
        """Headers that somebody has edited, with the stored value in place of each that came back
        as it was shown: of several headers of a name in their order.

        Raises:
            ValueError: one is masked, and it is not certain which value it stands for.
        """
        kept: dict[tuple[str, str], list[str]] = {}
        for line in filter(self.is_secret, stored):
            name, shown = self.masked(line)
            kept.setdefault((name.lower(), shown), []).append(line[1].decode("latin-1"))
        asked = Counter((name.lower(), value) for name, value in edited)
        restored = []
        for name, value in edited:
            same = name.lower(), value
            values = kept.get(same)
            if values is None and not self._is_mask(name, value):
                restored.append((name, value))
            elif values and (len(set(values)) == 1 or asked[same] == len(values)):
                restored.append((name, values.pop(0) if len(values) > 1 else values[0]))
            else:
                raise ValueError(
                    f"{name}: {value} does not say which of {len(values or ())} masked values to "
                    "keep: expected the whole value, or the headers of that name as they were shown"
                )
        return restored

    def _is_mask(self, name: str, value: str) -> bool:
        is_secret = name.lower().encode("utf-8") in self.names
        return is_secret and (value == MASK or value.endswith(f" {MASK}"))


class Headers:
    """Shows headers to whoever asks, masked or not."""

    def __init__(self, masking: Masking, audit: Audit) -> None:
        self.masking = masking
        self._audit = audit

    def shown(
        self,
        request: web.Request,
        lines: Sequence[Line],
        asked: Revealing,
        *,
        of: Mapping[str, object],
    ) -> list[tuple[str, str]]:
        """The headers of a message, bytes as Latin-1, as `asked`. That secrets were shown is told,
        with whose they are (`of`); that there were none is not.

        Raises:
            ApiError: 403, the key that was shown may not see secrets.
        """
        if asked.reveal == "false":
            return [self.masking.masked(line) for line in lines]
        self._check(request)
        with self._audit.acting(Action.REVEALED, of) as told:
            told.count = int(self.masking.has_secret(lines))
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]

    def _check(self, request: web.Request) -> None:
        key = shown_key.get()
        if key is not None and key.role is not Role.ADMIN:
            self._audit.refused(request, name=key.name, error="key_forbidden")
            raise forbidden(key, _ONLY_ADMIN)


def _mask(value: bytes) -> str:
    scheme = _SCHEME.match(value)
    return MASK if scheme is None else f"{scheme[1].decode('ascii')} {MASK}"

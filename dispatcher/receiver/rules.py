"""What is demanded of a request before the application sees it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from dispatcher.errors import DispatcherError
from dispatcher.protocol.webhooks import ID, TOLERANCE_S, Secret, verify

MOST_BYTES: Final = 8 * 1024 * 1024
MESSAGE_ID: Final = "x-dispatcher-message-id"

_ID: Final = re.compile(r"[!-~]{1,255}")
_SIZE: Final = re.compile(r"[0-9]{1,18}")


class Unsigned(Enum):
    """Said on purpose: a setting that is not there must not open a door."""

    UNSIGNED = "unsigned"


UNSIGNED: Final = Unsigned.UNSIGNED
"""In place of secrets: requests are not signed, and accepted from everybody."""

Secrets: TypeAlias = str | bytes | Sequence[str | bytes]
Headers: TypeAlias = Sequence[tuple[str, str]]


class RequestRefused(DispatcherError):
    """The application does not get to see a request. `status` is what it is answered with."""

    slug = "request_refused"
    status = 400


class MessageIdMissing(RequestRefused):
    """There is nothing by which duplicates can be told."""

    slug = "message_id_missing"


class MessageIdInvalid(RequestRefused):
    """It is too long, is not visible ASCII, or stands twice."""

    slug = "message_id_invalid"


class BodyBroken(RequestRefused):
    """It ended early, or its length is no number."""

    slug = "body_broken"


class LengthRequired(RequestRefused):
    """The server hands on no body without a length."""

    slug = "length_required"
    status = 411


class BodyTooLarge(RequestRefused):
    """It is longer than `most_bytes`."""

    slug = "body_too_large"
    status = 413

    def __init__(self, most_bytes: int) -> None:
        super().__init__(
            f"The body has more than {most_bytes} bytes, the most that is read. Send less, or "
            "raise most_bytes in the receiver."
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What is demanded. Make them with `of`.

    `secrets` is None where requests are not signed. `paths` are those that are looked at, each with
    what is below it.
    """

    secrets: tuple[Secret, ...] | None
    tolerance_s: float
    most_bytes: int
    paths: tuple[str, ...]
    needs_id: bool

    @classmethod
    def of(
        cls,
        secrets: Secrets | Unsigned,
        *,
        tolerance_s: float = TOLERANCE_S,
        most_bytes: int = MOST_BYTES,
        paths: Sequence[str] = ("/",),
        needs_id: bool = True,
    ) -> Rules:
        """Check and make them.

        Raises:
            ValueError: there is no secret, a secret can't be read, or a path does not begin with /.
        """
        if isinstance(paths, str) or not paths or not all(path.startswith("/") for path in paths):
            raise ValueError(f'expected paths as ["/webhooks"], got {paths!r}')
        return cls(
            secrets=None if isinstance(secrets, Unsigned) else read_secrets(secrets),
            tolerance_s=tolerance_s,
            most_bytes=most_bytes,
            paths=tuple(_plain(path) for path in paths),
            needs_id=needs_id,
        )

    def cover(self, *spellings: str) -> bool:
        """Say whether a request is looked at: one of its path's spellings is, without or with what
        the application is mounted below."""
        return any(
            path == "/" or f"{_plain(spelling)}/".startswith(f"{path}/")
            for path in self.paths
            for spelling in spellings
        )

    def check_size(self, size_bytes: int) -> None:
        """Refuse a body that is too long.

        Raises:
            BodyTooLarge: it is.
        """
        if size_bytes > self.most_bytes:
            raise BodyTooLarge(self.most_bytes)

    def check(self, headers: Headers, body: bytes, now_s: float) -> str | None:
        """Check a request, and return by what id its duplicates are told; None: by none.

        Where requests are signed it is the one that is signed: another header is anybody's.

        Raises:
            SignatureRefused: it is not signed as it should be.
            RequestRefused: it has no id, or one that can't be kept.
        """
        if self.secrets is not None:
            return verify(self.secrets, headers, body, now_s=now_s, tolerance_s=self.tolerance_s)
        return message_id_of(headers) if self.needs_id else None


def read_secrets(secrets: Secrets) -> tuple[Secret, ...]:
    """Read one secret or several.

    Raises:
        ValueError: there is none, or one can't be read.
    """
    several = [secrets] if isinstance(secrets, str | bytes) else secrets or []
    if not several:
        raise ValueError("expected a secret; UNSIGNED accepts requests from everybody")
    return tuple(Secret.read(one) for one in several)


def message_id_of(headers: Iterable[tuple[str, str]]) -> str:
    """Return the id of a message that is not signed: the dispatcher's, else its sender's.

    Raises:
        MessageIdMissing: it has none.
        MessageIdInvalid: it has one that can't be kept, or several.
    """
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value.strip(" \t"))
    for name in (MESSAGE_ID, ID):
        match found.get(name, []):
            case []:
                continue
            case [value] if _ID.fullmatch(value):
                return value
        raise MessageIdInvalid(f"{name}: expected once, 1 to 255 visible ASCII characters.")
    raise MessageIdMissing(
        f"The request has neither {MESSAGE_ID} nor {ID}, by which duplicates are told: send it "
        "through a dispatcher."
    )


def said_size(headers: Iterable[tuple[str, str]]) -> int | None:
    """Return how long the body is going to be, None where nobody says.

    Raises:
        BodyBroken: what is said is no number.
    """
    said = [value.strip() for name, value in headers if name.lower() == "content-length"]
    if not any(said):
        return None
    if len(set(said)) > 1 or not _SIZE.fullmatch(said[0]):
        raise BodyBroken("Content-Length: expected a number.")
    return int(said[0])


def _plain(path: str) -> str:
    """Slashes that are doubled, or at the end, make no other path: some routers think so too."""
    return re.sub(r"/+", "/", path).rstrip("/") or "/"

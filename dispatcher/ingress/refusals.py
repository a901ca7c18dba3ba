"""Every reason for which ingress itself refuses a request: stable slugs, and what the caller can
do.

The queue has its own (disk full, backlog full, shutting down), which are passed on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from dispatcher.core.options import PREFIX, Option
from dispatcher.errors import DispatcherError, Refusal

MAX_HEAD_BYTES = 64 * 1024
_MAX_SHOWN_CHARS = 64


class RequestError(DispatcherError):
    """A request is refused while it is read. Made anew for each: a raised exception holds its
    frames.

    `fatal` says that the end of the request is not known or not to be trusted, so that nothing more
    can be read from the connection.
    """

    fatal: ClassVar[bool]

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class MalformedError(RequestError):
    """What arrives is not HTTP as the listener reads it, or what follows would be none (CONNECT):
    nothing after it can be read."""

    fatal = True


class UnacceptableError(RequestError):
    """A well-formed request asks for something it cannot have; the connection may go on."""

    fatal = False


REQUEST_LINE = Refusal(
    400,
    "request_line_invalid",
    "The request line must be `METHOD SP target SP HTTP/1.1`, each separated by one space.",
)
TARGET = Refusal(
    400,
    "target_invalid",
    "The request target must be a path that starts with `/`, an absolute URL, or `*` with OPTIONS, "
    "without blanks, controls or 8-bit bytes; percent-encode them.",
)
HEADER = Refusal(
    400,
    "header_invalid",
    "A header line is not `Name: value` on one line: no blank before the colon, no folded line, "
    "no NUL, and CR LF at its end.",
)
HOST = Refusal(
    400,
    "host_invalid",
    "An HTTP/1.1 request needs exactly one Host header, which is `host` or `host:port`.",
)
CONTENT_LENGTH = Refusal(
    400,
    "content_length_invalid",
    "Content-Length must be sent at most once and be a decimal number of bytes.",
)
FRAMING = Refusal(
    400,
    "framing_ambiguous",
    "A request has either Content-Length or Transfer-Encoding; send only one of them.",
)
TRANSFER_ENCODING = Refusal(
    400,
    "transfer_encoding_invalid",
    "Transfer-Encoding must be `chunked`, once, and only in HTTP/1.1.",
)
CHUNK = Refusal(
    400,
    "chunk_invalid",
    "The chunked body is malformed: a chunk is its size in hexadecimal, CR LF, that many bytes, "
    "CR LF; extensions and trailers are dropped and may be 16 KiB at most.",
)
VERSION = Refusal(505, "version_unsupported", "Use HTTP/1.1 or HTTP/1.0.")
CODING = Refusal(
    501,
    "coding_unsupported",
    "The only transfer coding understood is `chunked`; send the body with it.",
)
HEAD_TOO_LARGE = Refusal(
    431,
    "head_too_large",
    f"The request line and the headers together are longer than {MAX_HEAD_BYTES} bytes; "
    "send fewer or shorter ones.",
)
HEAD_TIMEOUT = Refusal(
    408, "head_timeout", "The head of the request did not arrive in time; send it at once."
)
BODY_TIMEOUT = Refusal(
    408,
    "body_timeout",
    "The body of the request stopped arriving, or came too slowly; send at least 1 KiB a second.",
)
CONNECT = Refusal(
    405,
    "method_not_allowed",
    "CONNECT is not supported: this is not a proxy. Use any other method.",
)
TOO_MANY_CONNECTIONS = Refusal(
    503,
    "too_many_connections",
    "Too many connections are open. Keep connections alive and use fewer, or try again later.",
    retry_after_s=1,
)
MEMORY = Refusal(
    503,
    "overloaded",
    "Too many bytes of requests wait in memory until they are whole and on disk. "
    "Send the request again.",
    retry_after_s=1,
)
ORIGIN_MISSING = Refusal(
    405,
    "origin_missing",
    "The header X-Dispatcher-Origin-Host is missing: add it with the host this request is for, "
    "for example `X-Dispatcher-Origin-Host: api.example.com`.",
)
ORIGIN_REPEATED = Refusal(
    400, "origin_invalid", "The origin header was sent twice; send it once, with one destination."
)
KEY = Refusal(
    401,
    "key_invalid",
    "X-Dispatcher-Key is missing or not one of the keys of this dispatcher; send a valid one.",
)
KEY_FORBIDDEN = Refusal(
    403,
    "key_forbidden",
    "The role of this key may not send messages; use one with the role `admin` or `dispatch`.",
)
EXPECTATION = Refusal(
    417,
    "expectation_failed",
    "The only expectation understood is `100-continue`; leave the Expect header out.",
)


def origin_invalid(reason: str) -> Refusal:
    """The origin header cannot be used; `reason` is a sentence about it."""
    return Refusal(400, "origin_invalid", f"The origin header cannot be used: {reason}.")


def option_invalid(option: Option) -> Refusal:
    """An option has a value that it cannot have, or was sent twice."""
    return Refusal(400, option.slug, f"{option.title} must be sent once, and be {option.takes}.")


def header_unknown(name: str, meant: str | None) -> Refusal:
    """A header of ours is not known; `meant` is the one that is most like it."""
    hint = "" if meant is None else f" Did you mean {meant}?"
    shown = name if len(name) <= _MAX_SHOWN_CHARS else f"{name[:_MAX_SHOWN_CHARS]}…"
    return Refusal(
        400,
        "header_unknown",
        f"{shown} is not a header of this dispatcher, and all that begin with {PREFIX} are for it "
        f"alone.{hint} Nothing was accepted.",
    )


def misspelt(missing: Refusal, name: str, meant: str | None) -> Refusal:
    """A header is missing; `name`, which is not known, may have been `meant` as one."""
    if meant is None:
        return missing
    return replace(missing, message=f"{missing.message} Did you mean {meant} by {name}?")


def body_too_large(max_body: int) -> Refusal:
    """The body is longer than `max_body` bytes."""
    return Refusal(
        413,
        "body_too_large",
        f"The body is longer than {max_body} bytes; send a smaller one, or raise MAX_BODY.",
    )

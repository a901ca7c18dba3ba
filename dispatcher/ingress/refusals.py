"""Every reason for which ingress itself refuses a request: stable slugs, and what the caller can
do.

The queue has its own (disk full, backlog full, shutting down), which are passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from dispatcher.core.option_reading import BadOption
from dispatcher.core.options import PREFIX
from dispatcher.errors import DispatcherError, Refusal

MAX_HEAD_BYTES = 64 * 1024
_MAX_SHOWN_CHARS = 64
_MAX_SHOWN_NAMES = 20


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
CONNECT: Refusal = Refusal(
    405,
    "method_not_allowed",
    "CONNECT is not supported: this is not a proxy. Use any other method; the proxy listens on "
    "`PROXY_LISTEN`.",
)
PROXY_CONNECT: Refusal = Refusal(
    405,
    "method_not_allowed",
    "CONNECT is not supported: what goes through a tunnel could not be kept. Ask for `http://`, "
    "with the header `X-Dispatcher-Scheme: https` where the destination needs TLS, and set "
    "`http_proxy` alone, not `https_proxy`.",
    phrase="CONNECT Not Allowed, Use http:// With X-Dispatcher-Scheme: https",
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
ORIGIN_MISSING: Refusal = Refusal(
    405,
    "origin_missing",
    "The header X-Dispatcher-Origin-Host is missing: add it with the host this request is for, "
    "for example `X-Dispatcher-Origin-Host: api.example.com`.",
)
NO_PROXY: Refusal = Refusal(
    405,
    "origin_missing",
    "This is no proxy: set `http_proxy` to the address of `PROXY_LISTEN`, or send the path alone "
    "as the target and the host in the header X-Dispatcher-Origin-Host.",
)
PROXY_ORIGIN_MISSING: Refusal = Refusal(
    405,
    "origin_missing",
    "This is a proxy, and nothing says which host this request is for: send the whole URL as its "
    "target, as clients do that have `http_proxy` set to this address, or add the header "
    "X-Dispatcher-Origin-Host.",
)
ORIGIN_REPEATED = Refusal(
    400, "origin_invalid", "The origin header was sent twice; send it once, with one destination."
)
SCHEME = Refusal(
    400,
    "scheme_invalid",
    "X-Dispatcher-Scheme must be sent once, and be `https`; leave it out for `http`.",
)
GROUP_WAIT = Refusal(
    400,
    "wait_invalid",
    "X-Dispatcher-Wait is not for a group, as its members answer one by one: leave it out.",
)
GROUP_SCHEME = Refusal(
    400,
    "scheme_invalid",
    "X-Dispatcher-Scheme is not for a group: write `https://` before its members that need TLS.",
)
KEY: Refusal = Refusal(
    401,
    "key_invalid",
    "X-Dispatcher-Key is missing or not one of the keys of this dispatcher; send a valid one.",
)
PROXY_KEY: Refusal = Refusal(
    407,
    "key_invalid",
    "This proxy needs a key: send one as the password of Proxy-Authorization, for example with "
    "`http_proxy=http://any:KEY@host:port`, or in X-Dispatcher-Key.",
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


def group_unknown(name: str, names: Sequence[str]) -> Refusal:
    """There is no group of this name; `names` are those that there are."""
    shown = name if len(name) <= _MAX_SHOWN_CHARS else f"{name[:_MAX_SHOWN_CHARS]}…"
    if names:
        more = len(names) - _MAX_SHOWN_NAMES
        listed = ", ".join(names[:_MAX_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
        what = f"The groups are: {listed}. Send `group:` and one of these names, without a path."
    else:
        what = (
            "There are none: write `[[group]]` tables with `name` and `members` into the file that "
            "DISPATCHER_CONFIG names, and send SIGHUP."
        )
    return Refusal(400, "group_unknown", f"There is no group `{shown}`. {what}")


def target_origin_invalid(reason: str) -> Refusal:
    """The host that a proxy's target names cannot be used; `reason` is a sentence about it."""
    return Refusal(
        400,
        "origin_invalid",
        f"What the target names before its path cannot be used: {reason}.",
    )


def option_invalid(error: BadOption) -> Refusal:
    """An option has a value that it cannot have."""
    return Refusal(400, error.slug, str(error))


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

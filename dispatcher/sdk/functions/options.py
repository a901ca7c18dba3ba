"""What a call asks for beyond its arguments: `f.with_options(...)`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dispatcher.sdk.functions.durations import DAY_US, Seconds, microseconds
from dispatcher.sdk.replay.model import CallOptions

LONGEST_US: Final = 365 * DAY_US
"""How long a call may take that says nothing: a person may be waited for. Servers shorten it to
their CALL_MAX_EXPIRATION, and a child's to its parent's."""

_VISIBLE: Final = re.compile(r"[!-~]{1,255}")
_ENDPOINTS: Final = ("http://", "https://", "bridge://", "promise:", "channel:")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of calls; None and "" for what is not said."""

    expiration_us: int | None = None
    timeout_us: int | None = None
    delay_us: int | None = None
    key: str | None = None
    endpoint: str = ""

    def on_the_wire(self, expiration_us: int | None, timeout_us: int | None) -> CallOptions:
        """Return what a call has; the arguments are what its function says."""
        return CallOptions(
            expiration_us=self.expiration_us or expiration_us or LONGEST_US,
            timeout_us=self.timeout_us or timeout_us,
            delay_us=self.delay_us,
        )


def changed(
    options: Options,
    *,
    expiration: Seconds | None,
    timeout: Seconds | None,
    delay: Seconds | None,
    key: str | None,
    endpoint: str | None,
) -> Options:
    """Return `options` with what is not None in place of what they had."""
    merged = Options(
        expiration_us=options.expiration_us if expiration is None else expiration_us(expiration),
        timeout_us=options.timeout_us if timeout is None else timeout_us(timeout),
        delay_us=options.delay_us if delay is None else microseconds(delay, "delay="),
        key=options.key if key is None else checked_key(key),
        endpoint=options.endpoint if endpoint is None else checked_endpoint(endpoint),
    )
    if merged.delay_us and merged.expiration_us and merged.delay_us >= merged.expiration_us:
        raise ValueError(
            "delay= must be shorter than expiration=: else the call expires before it begins."
        )
    return merged


def expiration_us(expiration: Seconds | None) -> int | None:
    """How long a call may take in all, until it fails with `Expired`; in microseconds."""
    return None if expiration is None else microseconds(expiration, "expiration=", least=1)


def timeout_us(timeout: Seconds | None) -> int | None:
    """How long one run of a call may take, in microseconds."""
    if timeout is None:
        return None
    return microseconds(timeout, "timeout=", least=1_000, most=DAY_US)


def checked_endpoint(endpoint: object) -> str:
    """Return the URL of an application, if it is one."""
    if not isinstance(endpoint, str) or not endpoint.startswith(_ENDPOINTS):
        raise ValueError(
            f"endpoint= must be the URL of an application, as http://billing:8000, "
            f"and is {endpoint!r}."
        )
    return endpoint


def checked_key(key: object) -> str:
    """Return an idempotency key, if it is one: it is a header."""
    if not isinstance(key, str):
        raise TypeError(f"key= must be a string, and is {key!r}.")
    if not _VISIBLE.fullmatch(key):
        raise ValueError(
            f"key= must be 1 to 255 visible ASCII characters without spaces, and is {key!r:.80}."
        )
    return key

"""Which status the exceptions of Python and of well-known libraries have.

They are found by the name of the package and of the class, so no library is imported for it. The
nearest class counts, along the order in which Python looks up attributes: a certificate error of
`ssl` is an SSLError first, and an OSError and a ValueError later.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from dispatcher.protocol.statuses import Status
from dispatcher.sdk.errors.codes import status_of_code

Rule: TypeAlias = Status | Callable[[Any], Status | None]
"""A status, or what tells it from the exception; None leaves it to the next class."""

_MOST_CAUSES: Final = 8

_THROTTLED_BY_AWS: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


def rule_of(kind: type) -> Rule | None:
    """The rule of exactly this class."""
    return _RULES.get((kind.__module__.partition(".")[0], kind.__name__))


def attribute(error: object, name: str) -> object:
    """An attribute of an exception, None where it has none: the application's own code may answer
    for it, and fail."""
    try:
        return getattr(error, name, None)
    except Exception:
        return None


def _connection(error: BaseException) -> Status:
    """Why a connection failed: libraries put the exception that says it among the causes."""
    seen: list[object] = [error]
    for one in seen:
        seen.extend(found for found in _behind(one) if found not in seen)
        if len(seen) > _MOST_CAUSES:
            break
    if any(isinstance(one, socket.gaierror) or "NameResolution" in _name(one) for one in seen):
        return Status.DNS_ERROR
    if any(isinstance(one, ssl.SSLError) for one in seen):
        return Status.TLS_ERROR
    return Status.TCP_ERROR


def _name(error: object) -> str:
    return type(error).__name__


def _behind(error: object) -> list[object]:
    """The exceptions that this one is about, in the attributes where libraries keep them."""
    found = [attribute(error, name) for name in ("__cause__", "os_error", "reason")]
    if isinstance(error, BaseException):
        found += [error.__context__, *error.args[:1]]
    return [one for one in found if isinstance(one, BaseException)]


def _code(*path: str) -> Callable[[object], Status | None]:
    """The status of the HTTP status that stands in these attributes."""

    def rule(error: object) -> Status | None:
        found: object = error
        for name in path:
            found = attribute(found, name)
        return status_of_code(found) if isinstance(found, int) else None

    return rule


def _urllib(error: Any) -> Status | None:
    reason = attribute(error, "reason")
    if isinstance(reason, TimeoutError):
        return Status.TIMEOUT
    return _connection(error) if isinstance(reason, OSError) else Status.TEMPORARY_ERROR


def _aws(error: Any) -> Status | None:
    response = attribute(error, "response")
    if not isinstance(response, dict):
        return None
    said, sent = response.get("Error"), response.get("ResponseMetadata")
    if isinstance(said, dict) and said.get("Code") in _THROTTLED_BY_AWS:
        return Status.THROTTLED
    code = sent.get("HTTPStatusCode") if isinstance(sent, dict) else None
    return status_of_code(code) if isinstance(code, int) else None


def _of(package: str, **rules: Rule) -> dict[tuple[str, str], Rule]:
    return {(package, name): rule for name, rule in rules.items()}


# Of the SDKs of OpenAI and Anthropic, which are made by one generator.
_OF_GENERATED: Final[dict[str, Rule]] = {
    "APITimeoutError": Status.TIMEOUT,
    "APIConnectionError": _connection,
    "APIStatusError": _code("status_code"),
    "APIResponseValidationError": Status.INVALID_RESPONSE,
}

_RULES: Final[dict[tuple[str, str], Rule]] = {
    **_of(
        "builtins",
        TimeoutError=Status.TIMEOUT,
        ConnectionError=Status.TCP_ERROR,
        PermissionError=Status.PERMISSION_DENIED,
        FileNotFoundError=Status.NOT_FOUND,
        TypeError=Status.INVALID_ARGUMENT,
        ValueError=Status.INVALID_ARGUMENT,
        OSError=Status.TEMPORARY_ERROR,
        EOFError=Status.TEMPORARY_ERROR,
        MemoryError=Status.TEMPORARY_ERROR,
        # The process ends; another one does the work.
        KeyboardInterrupt=Status.TEMPORARY_ERROR,
        SystemExit=Status.TEMPORARY_ERROR,
    ),
    **_of("asyncio", CancelledError=Status.TEMPORARY_ERROR),
    **_of("concurrent", BrokenExecutor=Status.TEMPORARY_ERROR),
    **_of("subprocess", TimeoutExpired=Status.TIMEOUT),
    **_of("socket", gaierror=Status.DNS_ERROR, herror=Status.DNS_ERROR),
    **_of("ssl", SSLError=Status.TLS_ERROR),
    **_of("http", HTTPException=Status.HTTP_ERROR, RemoteDisconnected=Status.TCP_ERROR),
    **_of(
        "urllib",
        HTTPError=_code("code"),
        ContentTooShortError=Status.HTTP_ERROR,
        URLError=_urllib,
    ),
    **_of(
        "httpx",
        HTTPStatusError=_code("response", "status_code"),
        TimeoutException=Status.TIMEOUT,
        ConnectError=_connection,
        NetworkError=Status.TCP_ERROR,
        ProxyError=Status.TCP_ERROR,
        ProtocolError=Status.HTTP_ERROR,
        DecodingError=Status.INVALID_RESPONSE,
        UnsupportedProtocol=Status.INVALID_ARGUMENT,
        InvalidURL=Status.INVALID_ARGUMENT,
        TooManyRedirects=Status.PERMANENT_ERROR,
        HTTPError=Status.TEMPORARY_ERROR,
    ),
    **_of(
        "requests",
        HTTPError=_code("response", "status_code"),
        ConnectTimeout=Status.TIMEOUT,
        Timeout=Status.TIMEOUT,
        SSLError=Status.TLS_ERROR,
        ConnectionError=_connection,
        ChunkedEncodingError=Status.HTTP_ERROR,
        ContentDecodingError=Status.INVALID_RESPONSE,
        JSONDecodeError=Status.INVALID_RESPONSE,
        TooManyRedirects=Status.PERMANENT_ERROR,
        MissingSchema=Status.INVALID_ARGUMENT,
        InvalidSchema=Status.INVALID_ARGUMENT,
        InvalidURL=Status.INVALID_ARGUMENT,
        InvalidHeader=Status.INVALID_ARGUMENT,
        RequestException=Status.TEMPORARY_ERROR,
    ),
    **_of(
        "aiohttp",
        ContentTypeError=Status.INVALID_RESPONSE,
        TooManyRedirects=Status.PERMANENT_ERROR,
        ClientResponseError=_code("status"),
        ServerTimeoutError=Status.TIMEOUT,
        ClientSSLError=Status.TLS_ERROR,
        ClientConnectionError=_connection,
        ClientPayloadError=Status.HTTP_ERROR,
        InvalidURL=Status.INVALID_ARGUMENT,
        NonHttpUrlClientError=Status.INVALID_ARGUMENT,
        ClientError=Status.TEMPORARY_ERROR,
    ),
    **_of("openai", **_OF_GENERATED),
    **_of("anthropic", **_OF_GENERATED),
    **_of(
        "botocore",
        ClientError=_aws,
        ConnectTimeoutError=Status.TIMEOUT,
        ReadTimeoutError=Status.TIMEOUT,
        SSLError=Status.TLS_ERROR,
        HTTPClientError=Status.HTTP_ERROR,
        ConnectionError=Status.TCP_ERROR,
        NoCredentialsError=Status.UNAUTHENTICATED,
        PartialCredentialsError=Status.UNAUTHENTICATED,
        ParamValidationError=Status.INVALID_ARGUMENT,
    ),
}

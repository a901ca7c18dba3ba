"""Which status a run has that ends with an exception, and when it may be tried again."""

from __future__ import annotations

import asyncio
import builtins
import http.client
import json
import socket
import ssl
import subprocess
import urllib.error
from email.message import Message

import aiohttp
import httpx
import pytest
import requests
from yarl import URL

from dispatcher.protocol.statuses import Status
from dispatcher.sdk import errors, exceptions
from dispatcher.sdk.errors import register, retry_after_of, status_of
from dispatcher.sdk.errors.statuses import _REGISTERED, checked
from dispatcher.sdk.errors.tables import rule_of


def after(error: BaseException, cause: BaseException) -> BaseException:
    """The exception with its cause."""
    error.__cause__ = cause
    return error


def answered(code: int, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = code
    response.headers.update(headers)
    return response


def of_aiohttp(code: int, kind: type[aiohttp.ClientResponseError]) -> aiohttp.ClientResponseError:
    return kind(None, (), status=code)  # type: ignore[arg-type]  # only its status counts


class Teapot(Exception):
    """An application's own, with a status of its own."""

    status = Status.THROTTLED


class Numbered(Exception):
    """Some libraries have the HTTP status in an attribute of that name."""

    status = 503


@pytest.mark.parametrize(
    ("kind", "builtin", "status"),
    [
        (exceptions.TemporaryError, Exception, Status.TEMPORARY_ERROR),
        (exceptions.PermanentError, Exception, Status.PERMANENT_ERROR),
        (exceptions.TimeoutError, builtins.TimeoutError, Status.TIMEOUT),
        (exceptions.ThrottledError, Exception, Status.THROTTLED),
        (exceptions.UnauthenticatedError, Exception, Status.UNAUTHENTICATED),
        (exceptions.PermissionDeniedError, PermissionError, Status.PERMISSION_DENIED),
        (exceptions.NotFoundError, LookupError, Status.NOT_FOUND),
        (exceptions.InvalidArgumentError, ValueError, Status.INVALID_ARGUMENT),
        (exceptions.InvalidResponseError, ValueError, Status.INVALID_RESPONSE),
        (exceptions.DNSError, socket.gaierror, Status.DNS_ERROR),
        (exceptions.TCPError, ConnectionError, Status.TCP_ERROR),
        (exceptions.TLSError, ssl.SSLError, Status.TLS_ERROR),
        (exceptions.HTTPError, Exception, Status.HTTP_ERROR),
    ],
)
def test_each_of_the_thirteen_errors_has_its_status_and_its_builtin(
    kind: type[exceptions.DispatchError], builtin: type[Exception], status: Status
) -> None:
    """And shows its text as it was given, whatever the builtin would show."""
    error = kind("the text", retry_after=3)

    assert isinstance(error, builtin)
    assert status_of(error) is status
    assert str(error) == "the text"
    assert retry_after_of(error) == 3


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (builtins.TimeoutError(), Status.TIMEOUT),
        (subprocess.TimeoutExpired("x", 1), Status.TIMEOUT),
        (ConnectionResetError(), Status.TCP_ERROR),
        (BrokenPipeError(), Status.TCP_ERROR),
        (PermissionError(), Status.PERMISSION_DENIED),
        (FileNotFoundError(), Status.NOT_FOUND),
        (TypeError(), Status.INVALID_ARGUMENT),
        (json.JSONDecodeError("", "", 0), Status.INVALID_ARGUMENT),
        (OSError(), Status.TEMPORARY_ERROR),
        (asyncio.IncompleteReadError(b"", 1), Status.TEMPORARY_ERROR),
        (asyncio.CancelledError(), Status.TEMPORARY_ERROR),
        (KeyboardInterrupt(), Status.TEMPORARY_ERROR),
        (SystemExit(), Status.TEMPORARY_ERROR),
        (socket.gaierror(-2, "unknown"), Status.DNS_ERROR),
        # These two are also an OSError and a ValueError.
        (ssl.SSLError(1, "x"), Status.TLS_ERROR),
        (ssl.SSLCertVerificationError(1, "x"), Status.TLS_ERROR),
        (KeyError(), Status.PERMANENT_ERROR),
        (Exception(), Status.PERMANENT_ERROR),
        (http.client.IncompleteRead(b""), Status.HTTP_ERROR),
        (http.client.RemoteDisconnected("x"), Status.TCP_ERROR),
        (urllib.error.URLError(socket.gaierror(-2, "x")), Status.DNS_ERROR),
        (urllib.error.URLError(ssl.SSLError(1, "x")), Status.TLS_ERROR),
        (urllib.error.URLError(ConnectionRefusedError()), Status.TCP_ERROR),
        (urllib.error.URLError(builtins.TimeoutError()), Status.TIMEOUT),
        (urllib.error.HTTPError("u", 429, "m", Message(), None), Status.THROTTLED),
        (urllib.error.HTTPError("u", 404, "m", Message(), None), Status.NOT_FOUND),
        (requests.HTTPError(response=answered(503)), Status.TEMPORARY_ERROR),
        (requests.HTTPError(response=answered(501)), Status.PERMANENT_ERROR),
        (requests.HTTPError(response=answered(302)), Status.PERMANENT_ERROR),
        (requests.HTTPError(), Status.TEMPORARY_ERROR),
        (requests.ConnectTimeout(), Status.TIMEOUT),
        (requests.ReadTimeout(), Status.TIMEOUT),
        (requests.exceptions.SSLError(), Status.TLS_ERROR),
        (requests.ConnectionError(), Status.TCP_ERROR),
        (httpx.ConnectError("x"), Status.TCP_ERROR),
        (after(httpx.ConnectError("x"), RuntimeError(socket.gaierror(-2, "x"))), Status.DNS_ERROR),
        (after(httpx.ConnectError("x"), ssl.SSLError(1, "x")), Status.TLS_ERROR),
        (httpx.ReadTimeout("x"), Status.TIMEOUT),
        (httpx.RemoteProtocolError("x"), Status.HTTP_ERROR),
        (aiohttp.NonHttpUrlClientError("ftp://x"), Status.INVALID_ARGUMENT),
        (after(requests.ConnectionError(), socket.gaierror(-2, "x")), Status.DNS_ERROR),
        (requests.exceptions.MissingSchema(), Status.INVALID_ARGUMENT),
        (of_aiohttp(401, aiohttp.ClientResponseError), Status.UNAUTHENTICATED),
        (of_aiohttp(200, aiohttp.ContentTypeError), Status.INVALID_RESPONSE),
        (aiohttp.ServerTimeoutError(), Status.TIMEOUT),
        (aiohttp.ServerDisconnectedError(), Status.TCP_ERROR),
        (aiohttp.ClientPayloadError(), Status.HTTP_ERROR),
        (aiohttp.InvalidURL(URL("/x")), Status.INVALID_ARGUMENT),
        (aiohttp.ClientError(), Status.TEMPORARY_ERROR),
        (Teapot(), Status.THROTTLED),
        (Numbered(), Status.PERMANENT_ERROR),
        (after(RuntimeError(), ConnectionResetError()), Status.TCP_ERROR),
        (after(RuntimeError(), Teapot()), Status.THROTTLED),
        (after(RuntimeError(), after(RuntimeError(), Teapot())), Status.PERMANENT_ERROR),
        (after(ValueError(), ConnectionResetError()), Status.INVALID_ARGUMENT),
        (ExceptionGroup("", [OSError(), OSError()]), Status.TEMPORARY_ERROR),
        (ExceptionGroup("", [ConnectionError(), builtins.TimeoutError()]), Status.TEMPORARY_ERROR),
        (ExceptionGroup("", [ConnectionError(), KeyError()]), Status.PERMANENT_ERROR),
        (exceptions.CallError("OSError", "x"), Status.PERMANENT_ERROR),
        (exceptions.Expired("Expired", "x"), Status.PERMANENT_ERROR),
    ],
    ids=repr,
)  # fmt: skip
def test_an_exception_has_the_status_of_what_it_means(error: BaseException, status: Status) -> None:
    """Of Python, of libraries, of an application; of its cause where nothing is known of it."""
    assert status_of(error) is status


@pytest.mark.parametrize(
    ("package", "name", "attributes", "status"),
    [
        ("httpx", "ConnectError", {}, Status.TCP_ERROR),
        ("httpx", "ConnectError", {"__cause__": socket.gaierror(-2, "x")}, Status.DNS_ERROR),
        ("httpx", "ConnectError", {"__context__": ssl.SSLError(1, "x")}, Status.TLS_ERROR),
        ("httpx", "TimeoutException", {}, Status.TIMEOUT),
        ("httpx", "ProtocolError", {}, Status.HTTP_ERROR),
        ("httpx", "HTTPStatusError", {"response": answered(403)}, Status.PERMISSION_DENIED),
        ("openai", "APIStatusError", {"status_code": 429}, Status.THROTTLED),
        ("openai", "APITimeoutError", {}, Status.TIMEOUT),
        ("openai", "APIConnectionError", {}, Status.TCP_ERROR),
        ("botocore.exceptions", "ClientError",
         {"response": {"Error": {"Code": "SlowDown"},
                       "ResponseMetadata": {"HTTPStatusCode": 503}}}, Status.THROTTLED),
        ("botocore.exceptions", "ClientError",
         {"response": {"ResponseMetadata": {"HTTPStatusCode": 404}}}, Status.NOT_FOUND),
        ("botocore.exceptions", "ReadTimeoutError", {}, Status.TIMEOUT),
    ],
)  # fmt: skip
def test_libraries_that_are_not_installed_are_known_by_name(
    package: str, name: str, attributes: dict[str, object], status: Status
) -> None:
    """Nothing is imported to find out. A class derived from one of theirs counts as it."""
    theirs = type(name, (Exception,), {"__module__": package})
    error = type("Derived", (theirs,), {"__module__": "application"})()
    for attribute, value in attributes.items():
        setattr(error, attribute, value)

    assert status_of(error) is status


def test_every_rule_of_an_installed_library_names_a_class_that_it_has() -> None:
    """A name with a mistake in it would never be found."""
    modules = {
        "builtins": [builtins], "asyncio": [asyncio], "socket": [socket], "ssl": [ssl],
        "subprocess": [subprocess], "http": [http.client], "urllib": [urllib.error],
        "requests": [requests, requests.exceptions], "aiohttp": [aiohttp], "httpx": [httpx],
    }  # fmt: skip
    for package, places in modules.items():
        from dispatcher.sdk.errors.tables import _RULES

        for owner, name in _RULES:
            if owner == package:
                kinds = [getattr(place, name, None) for place in places]
                assert any(isinstance(kind, type) and rule_of(kind) for kind in kinds), name


def test_an_exceptions_own_status_counts_before_all_others() -> None:
    """Then the function's `errors`, then what is registered, then the tables."""
    own: errors.Errors = {Teapot: Status.NOT_FOUND, Numbered: exceptions.DNSError}
    try:
        register(Numbered, Status.TIMEOUT)
        register(OSError, lambda error: Status.TIMEOUT if error.errno == 5 else None)
        register(LookupError, lambda error: exceptions.NotFoundError)

        assert status_of(Teapot(), own) is Status.THROTTLED
        assert status_of(Numbered(), own) is Status.DNS_ERROR
        assert status_of(Numbered()) is Status.TIMEOUT
        assert status_of(OSError(5, "x")) is Status.TIMEOUT
        assert status_of(OSError(6, "x")) is Status.TEMPORARY_ERROR
        assert status_of(KeyError()) is Status.NOT_FOUND
        assert status_of(after(RuntimeError(), Numbered()), own) is Status.DNS_ERROR
    finally:
        _REGISTERED.clear()


def test_the_nearest_class_counts() -> None:
    """Whatever the order in which they were said."""
    own: errors.Errors = {
        Exception: exceptions.TemporaryError,
        LookupError: exceptions.NotFoundError,
    }

    assert status_of(KeyError(), own) is Status.NOT_FOUND
    assert status_of(ValueError(), own) is Status.TEMPORARY_ERROR


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"KeyError": Status.TIMEOUT},
         "'KeyError' is no class of exceptions: write errors={SomeError: …}"),
        ({KeyError: ValueError},
         "KeyError can't mean ValueError: write one of the SDK's errors, such as "
         "dispatch.TemporaryError"),
        ({KeyError: 6},
         "KeyError can't mean 6: write one of the SDK's errors, such as dispatch.TemporaryError, "
         "or a function that returns one"),
    ],
)  # fmt: skip
def test_what_an_exception_cannot_mean_is_refused(entry: errors.Errors, text: str) -> None:
    """Where it is said, not when it is needed."""
    with pytest.raises(TypeError) as caught:
        checked(entry)

    assert str(caught.value) == text


def test_an_exception_whose_attributes_fail_has_a_status() -> None:
    """Its own code must not end the process that answers."""

    class Broken(OSError):
        @property
        def status(self) -> int:
            raise KeyError

    assert status_of(Broken()) is Status.TEMPORARY_ERROR
    assert retry_after_of(Broken()) is None


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (exceptions.ThrottledError("x", retry_after=2.5), 2.5),
        (exceptions.ThrottledError("x"), None),
        (after(RuntimeError(), exceptions.ThrottledError("x", retry_after=2)), 2),
        (requests.HTTPError(response=answered(429, **{"Retry-After": "7"})), 7),
        (requests.HTTPError(
            response=answered(429, **{"Retry-After": "Thu, 01 Jan 1970 00:16:50 GMT"})), 10),
        (requests.HTTPError(
            response=answered(429, **{"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})), 0),
        (requests.HTTPError(response=answered(429, **{"Retry-After": "soon"})), None),
        (requests.HTTPError(response=answered(429)), None),
        (exceptions.ThrottledError("x", retry_after=float("nan")), None),
        (exceptions.ThrottledError("x", retry_after=-1), 0),
        (ValueError(), None),
    ],
)  # fmt: skip
def test_an_exception_knows_when_to_try_again(error: BaseException, seconds: float | None) -> None:
    """From its attribute, or from the response it holds; the clock says 1000 s since the epoch."""
    assert retry_after_of(error, 1000) == seconds

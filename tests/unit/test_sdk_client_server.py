"""Which server a client of the SDK talks to: each mistake is one sentence."""

from __future__ import annotations

import pytest

from dispatcher.errors import ConfigError
from dispatcher.sdk.client.server import Server

_WRITE = "write the URL of the server's API, such as http://127.0.0.1:8081"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://h:80/", "http://h"),
        ("https://h.example/behind/it/", "https://h.example/behind/it"),
        (" http://h:8081\n", "http://h:8081"),
        ("http://[::1]:8081", "http://[::1]:8081"),
    ],
)
def test_address_is_read_as_it_is_meant(text: str, url: str) -> None:
    """Slashes and white space around it do no harm."""
    assert Server.found(text, environ={}).url == url


def test_arguments_go_before_the_environment() -> None:
    """And each remembers where it comes from, for messages."""
    environ = {"DISPATCH_API_URL": "http://e", "DISPATCH_API_KEY": "secret"}
    found = Server.found(None, None, environ)
    assert (found.url, found.key) == ("http://e", "secret")
    assert (found.url_from, found.key_from) == ("DISPATCH_API_URL", "DISPATCH_API_KEY")
    assert "secret" not in repr(found)
    found = Server.found("http://a", "other", environ)
    assert (found.url, found.key) == ("http://a", "other")
    assert (found.url_from, found.key_from) == ("api_url=…", "api_key=…")


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        (
            None,
            None,
            f"DISPATCH_API_URL is not set: {_WRITE}, or pass "
            'api_url="http://127.0.0.1:8081"; `dispatcher run -- COMMAND` sets it, and starts a '
            "server; other terminals type the line that it shows",
        ),
        ("", None, f"api_url=… is empty: {_WRITE}, or leave it away"),
        ("ftp://h", None, f"api_url=… is 'ftp://h': {_WRITE}"),
        ("localhost:8081", None, f"api_url=… is 'localhost:8081': {_WRITE}"),
        ("http://h:port", None, f"api_url=… is 'http://h:port': {_WRITE}"),
        ("http://h?x", None, f"api_url=… is 'http://h?x': {_WRITE}"),
        (
            "http://me:secret@h",
            None,
            f"api_url=… has a password in it: {_WRITE}; the key is DISPATCH_API_KEY",
        ),
        (
            "http://h",
            "a\nb",
            "api_key=… has characters that no header can hold (a line break, or not ASCII): write "
            "the application's key, one of API_KEYS of the server",
        ),
        (
            "http://h",
            " ",
            "api_key=… is empty: write the application's key, one of API_KEYS of the server, or "
            "leave it away",
        ),
    ],
)
def test_mistake_says_what_to_write(url: str | None, key: str | None, message: str) -> None:
    """And quotes no key."""
    with pytest.raises(ConfigError) as caught:
        Server.found(url, key, {})
    assert str(caught.value) == message


def test_variable_that_is_empty_is_told() -> None:
    """It was to say something."""
    with pytest.raises(ConfigError, match="DISPATCH_API_KEY is empty: write"):
        Server.found("http://h", None, {"DISPATCH_API_KEY": ""})


def test_argument_of_another_type_is_told() -> None:
    """Before it fails deep inside."""
    with pytest.raises(ConfigError, match=r"api_url=… is of type int: write .*, a str"):
        Server.found(8081, None, {})  # type: ignore[arg-type] # the mistake

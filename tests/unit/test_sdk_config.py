"""The settings of an application, and what is said where they are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.errors import ConfigError
from dispatcher.protocol.keys import new_private_key, public_key_base64, public_key_pem
from dispatcher.sdk.config import Address, Config, read_config

KEY = new_private_key().public_key()


def test_settings_are_the_defaults_when_nothing_says_them() -> None:
    """An application without settings can be made, and answers runs."""
    assert read_config(environ={}) == Config(
        None, None, None, Address("127.0.0.1", 8000), (), 10_000
    )


def test_settings_come_from_the_environment() -> None:
    """Each has its variable; a slash at the end of a URL and white space around are dropped."""
    config = read_config(
        environ={
            "DISPATCH_API_URL": "http://server:8081/",
            "DISPATCH_API_KEY": "an application's\n",
            "DISPATCH_ENDPOINT_URL": "https://app.example/base/",
            "DISPATCH_ENDPOINT_ADDR": "[::1]:8001",
            "DISPATCH_VERIFICATION_KEY": public_key_base64(KEY),
        }
    )
    assert config.where_api() == "http://server:8081"
    assert config.api_key == "an application's"
    assert config.where_endpoint() == "https://app.example/base"
    assert config.address == Address("::1", 8001)
    assert str(config.address) == "[::1]:8001"
    assert [public_key_base64(key) for key in config.verification_keys] == [public_key_base64(KEY)]


def test_an_argument_goes_before_its_variable() -> None:
    """What is written in the program wins, and the variable is not even looked at."""
    config = read_config(api_url="http://b:1", environ={"DISPATCH_API_URL": "nonsense"})
    assert config.api_url == "http://b:1"


def test_a_key_is_read_as_pem_with_written_line_breaks() -> None:
    """As files of environments have it."""
    pem = public_key_pem(KEY).replace("\n", "\\n")
    (key,) = read_config(verification_key=pem, environ={}).verification_keys
    assert public_key_base64(key) == public_key_base64(KEY)


def test_a_key_is_not_shown() -> None:
    """Settings get into logs."""
    assert "SECRET" not in repr(read_config(api_key="SECRET", environ={}))


def test_an_address_without_a_host_is_all_addresses() -> None:
    """`:8000`, as other languages write it."""
    assert read_config(address=":8000", environ={}).address == Address("0.0.0.0", 8000)


def test_a_session_of_the_bridge_is_an_endpoint() -> None:
    """Applications that the server can't reach are fetched from."""
    assert read_config(endpoint_url="bridge://s", environ={}).endpoint_url == "bridge://s"


API = "the URL of the server's API, such as http://127.0.0.1:8081"
ENDPOINT = "the URL at which the server reaches this application, such as http://127.0.0.1:8000"
LISTEN = "HOST:PORT where to listen, such as 127.0.0.1:8000, or :8000 for all addresses"
SHOWN = "what `dispatcher keys show` prints on the server"
READ = (
    "expected an Ed25519 public key, as PEM or as base64 of its 32 bytes; "
    "`dispatcher keys show` prints both"
)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DISPATCH_API_URL", "", f"DISPATCH_API_URL is empty: write {API}, or unset it"),
        ("DISPATCH_API_URL", "ftp://x", f"DISPATCH_API_URL is 'ftp://x': write {API}"),
        ("DISPATCH_API_URL", "server:8081", f"DISPATCH_API_URL is 'server:8081': write {API}"),
        ("DISPATCH_API_URL", "http://a:b", f"DISPATCH_API_URL is 'http://a:b': write {API}"),
        (
            "DISPATCH_API_URL",
            "http://me:PASSWORD@x",
            f"DISPATCH_API_URL has a password in it: write {API}; the key is DISPATCH_API_KEY",
        ),
        (
            "DISPATCH_API_KEY",
            "one\ntwo",
            "DISPATCH_API_KEY has characters that no header can hold (a line break, or not ASCII): "
            "write the application's key, one of API_KEYS of the server",
        ),
        ("DISPATCH_ENDPOINT_URL", "app", f"DISPATCH_ENDPOINT_URL is 'app': write {ENDPOINT}"),
        ("DISPATCH_ENDPOINT_ADDR", "8000", f"DISPATCH_ENDPOINT_ADDR is '8000': write {LISTEN}"),
        (
            "DISPATCH_ENDPOINT_ADDR",
            "a:70000",
            f"DISPATCH_ENDPOINT_ADDR is 'a:70000': write {LISTEN}",
        ),
        (
            "DISPATCH_VERIFICATION_KEY",
            "",
            f"DISPATCH_VERIFICATION_KEY is empty: write {SHOWN}, or unset it",
        ),
        (
            "DISPATCH_VERIFICATION_KEY",
            "abc",
            f"DISPATCH_VERIFICATION_KEY is no public key: write {SHOWN} ({READ})",
        ),
    ],
)
def test_a_wrong_variable_is_named_with_what_to_write(
    variable: str, value: str, message: str
) -> None:
    """One line for each mistake."""
    with pytest.raises(ConfigError) as raised:
        read_config(environ={variable: value})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_url": ""}, f"Dispatch(api_url=…) is empty: write {API}, or leave it away"),
        ({"api_url": 8081}, f"Dispatch(api_url=…) is of type int: write {API}, a str"),
        ({"address": "x"}, f"Dispatch(address=…) is 'x': write {LISTEN}"),
        (
            {"warm": -1},
            "Dispatch(warm=…) is -1: write how many suspended calls to keep in memory, 0 for none",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_to_write(
    arguments: dict[str, Any], message: str
) -> None:
    """As for variables."""
    with pytest.raises(ConfigError) as raised:
        read_config(**arguments, environ={})
    assert str(raised.value) == message


def test_what_is_missing_is_said_where_it_is_needed() -> None:
    """With the variable, the argument, and the command that does without."""
    config = read_config(environ={})
    with pytest.raises(ConfigError) as api:
        config.where_api()
    assert str(api.value) == (
        "DISPATCH_API_URL is not set: write the URL of the server's API, such as "
        'http://127.0.0.1:8081, or pass Dispatch(api_url="http://127.0.0.1:8081"); '
        "`dispatcher run -- COMMAND` sets it, and starts a server; other terminals type the line "
        "that it shows"
    )
    with pytest.raises(ConfigError) as endpoint:
        config.where_endpoint()
    assert str(endpoint.value) == (
        "DISPATCH_ENDPOINT_URL is not set: write the URL at which the server reaches this "
        "application, such as http://127.0.0.1:8000, or pass "
        'Dispatch(endpoint_url="http://127.0.0.1:8000"); '
        "`dispatcher run -- COMMAND` sets it, and starts a server; other terminals type the line "
        "that it shows"
    )

"""A setting as somebody wrote it, in an argument or a variable, and what is said where it is wrong.

    argument           variable                    what
    api_url            DISPATCH_API_URL            where calls are dispatched: the server's API
    api_key            DISPATCH_API_KEY            the application's key there
    endpoint_url       DISPATCH_ENDPOINT_URL       where the server reaches this application
    address            DISPATCH_ENDPOINT_ADDR      where it listens, HOST:PORT
    verification_key   DISPATCH_VERIFICATION_KEY   the server's public key; without it requests are
                                                   not verified

Applications and clients read them alike. Each mistake is one sentence, which names the argument or
variable and says what to write there; none quotes a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from dispatcher.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them. `what` is to be written, after "write"; `schemes` are those of its URL."""

    argument: str
    variable: str
    what: str
    example: str = ""
    schemes: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """What is to be written, with an example where there is one."""
        return f"{self.what}, such as {self.example}" if self.example else self.what


API_URL: Final = Setting(
    "api_url",
    "DISPATCH_API_URL",
    "the URL of the server's API",
    "http://127.0.0.1:8081",
    ("http", "https"),
)
API_KEY: Final = Setting(
    "api_key", "DISPATCH_API_KEY", "the application's key, one of API_KEYS of the server"
)
ENDPOINT_URL: Final = Setting(
    "endpoint_url",
    "DISPATCH_ENDPOINT_URL",
    "the URL at which the server reaches this application",
    "http://127.0.0.1:8000",
    ("http", "https", "bridge"),
)
ADDRESS: Final = Setting(
    "address",
    "DISPATCH_ENDPOINT_ADDR",
    "HOST:PORT where to listen, such as 127.0.0.1:8000, or :8000 for all addresses",
)
VERIFICATION_KEY: Final = Setting(
    "verification_key",
    "DISPATCH_VERIFICATION_KEY",
    "what `dispatcher keys show` prints on the server",
)


@dataclass(frozen=True, slots=True)
class Written:
    """A setting, as it was found. `value` has no white space around it, None: nobody wrote it.
    `source` is the argument or the variable, as messages name it."""

    setting: Setting
    source: str
    value: str | None = field(repr=False)

    @property
    def wrong(self) -> ConfigError:
        """The error for a value that is none."""
        return ConfigError(f"{self.source} is {self.value!r}: write {self.setting.wanted}")

    def url(self) -> str | None:
        """The value as a URL, without a slash at its end.

        Raises:
            ConfigError: it is none.
        """
        if self.value is None:
            return None
        try:
            parts = urlsplit(self.value)
            is_url = bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, a bracket that is not closed
            raise self.wrong from None
        if parts.username is not None:  # not quoted: it has a password
            hint = f"; the key is {API_KEY.variable}" if self.setting is API_URL else ""
            wanted = self.setting.wanted
            raise ConfigError(f"{self.source} has a password in it: write {wanted}{hint}")
        is_plain = self.value.isascii() and self.value.isprintable() and " " not in self.value
        is_whole = is_url and parts.scheme in self.setting.schemes
        if not (is_plain and is_whole) or parts.query or parts.fragment:
            raise self.wrong
        return self.value.rstrip("/")

    def key(self) -> str | None:
        """The value as a key.

        Raises:
            ConfigError: it can't be sent.
        """
        value = self.value
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"{self.source} has characters that no header can hold (a line break, or not "
                f"ASCII): write {self.setting.wanted}"
            )
        return value


def written(
    setting: Setting, argument: object, environ: Mapping[str, str], *, named: str = "{}=…"
) -> Written:
    """Find a setting: the argument, else the variable. `named` is how messages call arguments.

    Raises:
        ConfigError: it is empty, or no text.
    """
    is_given = argument is not None
    source = named.format(setting.argument) if is_given else setting.variable
    value = argument if is_given else environ.get(setting.variable)
    if value is None:
        return Written(setting, source, None)
    if not isinstance(value, str):
        kind = type(value).__name__
        raise ConfigError(f"{source} is of type {kind}: write {setting.wanted}, a str")
    if not value.strip():
        or_else = "leave it away" if is_given else "unset it"
        raise ConfigError(f"{source} is empty: write {setting.wanted}, or {or_else}")
    return Written(setting, source, value.strip())


def missing(setting: Setting, *, named: str) -> ConfigError:
    """The error for a setting that is needed. `named` is the argument with its example."""
    return ConfigError(
        f"{setting.variable} is not set: write {setting.wanted}, or pass {named}; "
        "`dispatcher run -- COMMAND` sets it, and starts a server; other terminals type the line "
        "that it shows"
    )

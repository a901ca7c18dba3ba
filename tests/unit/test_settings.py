"""Settings: every row of the table, both sources, and every way to get them wrong."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import ConfigError
from dispatcher.settings import Address, Settings

DEFAULTS = {
    "TRANSACTION_LOG": "transaction.log",
    "DEAD_LETTER": "deadletter.log",
    "LISTEN": ":80",
    "LISTEN_KEYS": [],
    "WORKER": 10,
    "RETRYLIMIT": 10,
    "DEFAULT_TIMEOUT": 10_000,
    "EVENT_SOURCING": False,
    "RETRY_DELAY": 2000,
    "RETRY_MAX_DELAY": 3_600_000,
    "RETRY_ON": [],
    "ACK_ANY_RESPONSE": False,
    "EGRESS": "any",
    "EGRESS_ALLOW": [],
    "EGRESS_DENY": [],
    "MAX_BODY": 64 * 1024 * 1024,
    "MAX_BACKLOG_BYTES": 0,
    "DEAD_LETTER_RETENTION": 2_592_000_000,
    "DEAD_LETTER_MAX_BYTES": 1_073_741_824,
    "DRAIN_TIMEOUT": 10_000,
    "API_LISTEN": "127.0.0.1:8081",
    "API_KEYS": [],
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
    "TRACING": "off",
}

RANGES = [
    ("WORKER", "worker", 1, 100_000),
    ("RETRYLIMIT", "retry_limit", 0, 1000),
    ("DEFAULT_TIMEOUT", "default_timeout_ms", 1, 3_600_000),
    ("RETRY_DELAY", "retry_delay_ms", 0, 31_536_000_000),
    ("RETRY_MAX_DELAY", "retry_max_delay_ms", 1, 31_536_000_000),
    ("MAX_BODY", "max_body_bytes", 0, 2**33),
    ("MAX_BACKLOG_BYTES", "max_backlog_bytes", 0, 2**63 - 1),
    ("DEAD_LETTER_RETENTION", "dead_letter_retention_ms", 0, 315_360_000_000),
    ("DEAD_LETTER_MAX_BYTES", "dead_letter_max_bytes", 0, 2**63 - 1),
    ("DRAIN_TIMEOUT", "drain_timeout_ms", 0, 86_400_000),
]


def refusal(environ: Mapping[str, str]) -> str:
    """Load settings that are wrong, and return what is said about them."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ)
    return str(caught.value)


def toml(tmp_path: Path, text: str) -> dict[str, str]:
    """Write a settings file, and return the environment that names it."""
    path = tmp_path / "dispatcher.toml"
    path.write_text(text, encoding="utf-8")
    return {"DISPATCHER_CONFIG": str(path)}


# The table


def test_settings_are_the_documented_defaults_when_nothing_is_set() -> None:
    """An empty environment gives the defaults of the table, under every name in it."""
    assert Settings.load({}).describe() == DEFAULTS


@pytest.mark.parametrize(("name", "field", "low", "high"), RANGES)
def test_number_is_taken_when_it_is_at_the_ends_of_its_range(
    name: str, field: str, low: int, high: int
) -> None:
    """Ranges include their ends."""
    assert getattr(Settings.load({name: str(low)}), field) == low
    assert getattr(Settings.load({name: str(high)}), field) == high


@pytest.mark.parametrize(("name", "_field", "low", "high"), RANGES)
@pytest.mark.parametrize("bad", ["below", "above", "many", "1.0", "1_0", "1e3", "0x10", "1 0", "٣"])
def test_number_is_refused_when_unreadable_or_out_of_range(
    name: str, _field: str, low: int, high: int, bad: str
) -> None:
    """The line names the setting, the value and the range."""
    value = {"below": str(low - 1), "above": str(high + 1)}.get(bad, bad)
    said = refusal({name: value})
    assert name in said
    assert value.encode("unicode_escape").decode() in said
    assert f"from {low} to {high}" in said


@pytest.mark.parametrize("name", ["EVENT_SOURCING", "ACK_ANY_RESPONSE"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [("1 t true yes on T TRUE Yes oN", True), ("0 f false no off F FALSE No oFF", False)],
)
def test_boolean_is_read_in_any_case_when_it_is_a_listed_word(
    name: str, words: str, expected: bool
) -> None:
    """Exactly the listed words, in any case."""
    for word in words.split():
        assert Settings.load({name: word}).describe()[name] is expected


@pytest.mark.parametrize("word", ["2", "y", "n", "enable", "tru", "-", "None"])
def test_boolean_is_refused_when_it_is_any_other_word(word: str) -> None:
    """The line names the setting, the value and the words that are read."""
    said = refusal({"EVENT_SOURCING": word})
    assert f"EVENT_SOURCING={word}" in said
    assert "1 t true yes on" in said


@pytest.mark.parametrize("name", ["LISTEN", "API_LISTEN"])
@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":80", "", 80),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:65535", "localhost", 65535),
        ("[::1]:8080", "::1", 8080),
        ("[0:0:0::1]:1", "::1", 1),
        ("api.example-1.com:443", "api.example-1.com", 443),
    ],
)
def test_address_is_read_when_it_is_host_and_port(
    name: str, text: str, host: str, port: int
) -> None:
    """`:port`, `host:port` and `[v6]:port`."""
    settings = Settings.load({name: text, "API_KEYS": "key"})
    address = settings.listen if name == "LISTEN" else settings.api_listen
    assert address == Address(host, port)


@pytest.mark.parametrize("name", ["LISTEN", "API_LISTEN"])
@pytest.mark.parametrize(
    "text",
    ["80", "host", "host:", ":", ":x", ":-1", ":65536", "::1:80", "[::1]", "[host]:80", "*:80",
     "http://host:80", "host:80/", "1.2.3:80", "256.1.1.1:80", "[::g]:80", "a b:80", "-a:80",
     "a..b:80", "a-:80", ".:80", "x" * 64 + ":80", "é:80"],
)  # fmt: skip
def test_address_is_refused_when_it_is_anything_else(name: str, text: str) -> None:
    """The line names the setting, the value and the forms."""
    said = refusal({name: text, "API_KEYS": "key"})
    assert f"{name}={text}" in said or not text.isascii()
    assert "host:port" in said


def test_lists_are_read_when_they_have_commas_and_blanks() -> None:
    """Blanks around an item don't count."""
    settings = Settings.load(
        {
            "LISTEN_KEYS": "one, two ,three",
            "API_KEYS": "k3y!",
            "RETRY_ON": "404, 409",
            "EGRESS_ALLOW": "example.com,*.example.com, 10.0.0.0/8",
            "EGRESS_DENY": "*",
        }
    )
    assert settings.listen_keys == (b"one", b"two", b"three")
    assert settings.api_keys == (b"k3y!",)
    assert settings.retry_on == {404, 409}
    assert settings.egress_allow == ("example.com", "*.example.com", "10.0.0.0/8")
    assert settings.egress_deny == ("*",)


@pytest.mark.parametrize("name", ["LISTEN_KEYS", "API_KEYS"])
@pytest.mark.parametrize("value", ["sesame,", ",sesame", "sesame,,sesame2", "sésame", "ses\tame"])
def test_keys_are_refused_without_being_shown_when_empty_or_not_ascii(
    name: str, value: str
) -> None:
    """Secrets are not shown even when they are wrong."""
    said = refusal({name: value})
    assert name in said
    assert "same" not in said
    assert "ASCII" in said


@pytest.mark.parametrize("value", ["99", "600", "404,", "4xx", "404;409", "-404"])
def test_retry_on_is_refused_when_an_item_is_not_a_status(value: str) -> None:
    """Status codes are 100 to 599."""
    said = refusal({"RETRY_ON": value})
    assert f"RETRY_ON={value}" in said
    assert "100 to 599" in said


@pytest.mark.parametrize("name", ["EGRESS_ALLOW", "EGRESS_DENY"])
@pytest.mark.parametrize("value", ["a,,b", "http://a", "10.0.0.0/33", "10.0.0.1/8", "a b"])
def test_egress_list_is_refused_when_an_item_is_not_a_pattern(name: str, value: str) -> None:
    """A pattern with a slip in it would silently match nothing."""
    said = refusal({name: value})
    assert f"{name}={value}" in said
    assert "host names" in said


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("EGRESS", ["any", "public", "PUBLIC"], ["private", "none"]),
        ("LOG_LEVEL", ["debug", "info", "warning", "error", "Error"], ["warn", "trace", "20"]),
        ("LOG_FORMAT", ["json", "console", "JSON"], ["text", "logfmt"]),
        ("TRACING", ["off", "otlp", "OTLP"], ["on", "jaeger"]),
    ],
)
def test_choice_is_read_in_any_case_and_refused_when_not_listed(
    name: str, good: list[str], bad: list[str]
) -> None:
    """The line lists the words."""
    for word in good:
        assert Settings.load({name: word}).describe()[name] == word.lower()
    for word in bad:
        said = refusal({name: word})
        assert f"{name}={word}" in said
        assert good[0] in said
        assert good[1] in said


# The environment


def test_variable_is_not_set_when_it_is_empty_or_unknown() -> None:
    """`WORKER=` is what a shell or a compose file makes of a variable that isn't there."""
    environ = dict.fromkeys(DEFAULTS, "") | {"RETRY_LIMIT": " ", "DISPATCHER_CONFIG": ""}
    assert Settings.load(environ | {"WORKERS": "x", "worker": "x"}).describe() == DEFAULTS


def test_environment_of_the_process_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is handed to `load` counts."""
    monkeypatch.setenv("WORKER", "99")
    assert Settings.load({}).worker == 10
    assert Settings.load(os.environ).worker == 99


def test_second_name_sets_the_limit_of_retries() -> None:
    """`RETRY_LIMIT` is `RETRYLIMIT`."""
    assert Settings.load({"RETRY_LIMIT": "3"}).retry_limit == 3


def test_both_names_are_taken_when_they_agree() -> None:
    """Agreeing is no error, whatever the blanks."""
    assert Settings.load({"RETRY_LIMIT": "3", "RETRYLIMIT": " 3"}).retry_limit == 3


def test_both_names_are_refused_when_they_disagree() -> None:
    """Nobody knows which was meant."""
    said = refusal({"RETRY_LIMIT": "3", "RETRYLIMIT": "4"})
    assert "RETRY_LIMIT=3" in said
    assert "RETRYLIMIT=4" in said
    assert "disagree" in said


def test_second_name_is_named_when_its_value_is_wrong() -> None:
    """Whoever set `RETRY_LIMIT` finds it in the line."""
    assert "RETRY_LIMIT" in refusal({"RETRY_LIMIT": "-3"})


def test_every_wrong_value_is_named_when_there_are_several() -> None:
    """One start is enough to see all of them."""
    said = refusal({"WORKER": "0", "LISTEN": "x", "MAX_BODY": "1 MiB", "LOG_LEVEL": "loud"})
    assert all(
        text in said for text in ("WORKER=0", "LISTEN=x", "MAX_BODY=1 MiB", "LOG_LEVEL=loud")
    )


def test_line_stays_one_short_line_when_a_value_is_long_or_has_line_ends() -> None:
    """The value is shown escaped and cut."""
    said = refusal({"WORKER": "1\n2\x1b[0m" + "9" * 5000})
    assert "\n" not in said
    assert "\x1b" not in said
    assert len(said) < 500


@given(st.text(max_size=20))
def test_number_of_workers_is_read_or_refused_and_nothing_else(text: str) -> None:
    """Whatever the text is: valid settings or a `ConfigError`."""
    try:
        worker = Settings.load({"WORKER": text}).worker
    except ConfigError:
        return
    assert worker == (int(text) if text.strip() else 10)


# The file


def test_file_gives_every_setting_in_toml_types(tmp_path: Path) -> None:
    """Numbers, booleans and arrays are TOML's own; keys are in capitals or in small letters."""
    settings = Settings.load(
        toml(
            tmp_path,
            'worker = 3\nEVENT_SOURCING = true\nRETRY_ON = [404, "409"]\n'
            'listen_keys = ["a b", "c"]\nLISTEN = "[::1]:0"\nretry_limit = 0\n'
            'EGRESS_DENY = "10.0.0.0/8, ::1"\nTRANSACTION_LOG = "/var/lib/x"\n',
        )
    )
    assert settings.worker == 3
    assert settings.event_sourcing is True
    assert settings.retry_on == {404, 409}
    assert settings.listen_keys == (b"a b", b"c")
    assert settings.listen == Address("::1", 0)
    assert settings.retry_limit == 0
    assert settings.egress_deny == ("10.0.0.0/8", "::1")
    assert settings.transaction_log == Path("/var/lib/x")


def test_environment_wins_when_the_file_sets_the_same(tmp_path: Path) -> None:
    """Under either name, and only where it is set."""
    environ = toml(tmp_path, "WORKER = 3\nRETRYLIMIT = 4\nDRAIN_TIMEOUT = 5\n")
    settings = Settings.load(environ | {"WORKER": "7", "RETRY_LIMIT": "8", "DRAIN_TIMEOUT": ""})
    assert (settings.worker, settings.retry_limit, settings.drain_timeout_ms) == (7, 8, 5)


@pytest.mark.parametrize(
    "key", ["WORKERS", "Worker", "retry_delay_ms", "environ", "DISPATCHER_CONFIG", "dispatcher"]
)
def test_file_is_refused_when_it_has_an_unknown_key(tmp_path: Path, key: str) -> None:
    """A key that means nothing is most often a slip; the line names it."""
    said = refusal(toml(tmp_path, f'{key} = "sesame"\nLISTEN = "x"\n'))
    assert f"{key}: no such setting" in said
    assert "LISTEN=x" in said
    assert "sesame" not in said  # it may be a key under a misspelt name


def test_unknown_key_comes_with_the_one_that_was_meant(tmp_path: Path) -> None:
    """Help with a slip."""
    assert "did you mean WORKER?" in refusal(toml(tmp_path, "WORKERS = 3\n"))


def test_file_is_refused_when_a_table_is_in_it(tmp_path: Path) -> None:
    """All keys stand at the top."""
    assert "dispatcher: no such setting" in refusal(toml(tmp_path, "[dispatcher]\nWORKER = 3\n"))


@pytest.mark.parametrize(
    "line",
    ["WORKER = true", "WORKER = 3.0", "WORKER = [3]", "EVENT_SOURCING = 2", "LISTEN = 80",
     "RETRY_ON = [404, true]", "RETRY_ON = [4.04]", "LISTEN_KEYS = [[]]", "TRANSACTION_LOG = 1",
     "TRANSACTION_LOG = ''", "LOG_LEVEL = 1", "EGRESS = ['any']", "WORKER = 2026-01-01"],
)  # fmt: skip
def test_file_is_refused_when_a_value_has_the_wrong_type(tmp_path: Path, line: str) -> None:
    """The line names the setting."""
    assert line.split(" ", 1)[0] in refusal(toml(tmp_path, line + "\n"))


def test_file_is_refused_when_two_spellings_of_a_key_disagree(tmp_path: Path) -> None:
    """Also without showing keys."""
    said = refusal(toml(tmp_path, 'WORKER = 1\nworker = 2\nAPI_KEYS = "sesame"\napi_keys = "b"\n'))
    assert "WORKER=1 and worker=2 disagree" in said
    assert "API_KEYS (value hidden) and api_keys (value hidden) disagree" in said
    assert "sesame" not in said


def test_file_is_refused_when_it_is_missing_or_no_file(tmp_path: Path) -> None:
    """The line names the variable, the path and what is wrong with it."""
    for path in (tmp_path / "missing.toml", tmp_path):
        said = refusal({"DISPATCHER_CONFIG": str(path)})
        assert f"DISPATCHER_CONFIG={path}" in said
        assert "TOML file" in said


@pytest.mark.parametrize("content", [b"WORKER = \n", b"WORKER\n", b"\xff\xfe", b"A = 1\nA = 2\n"])
def test_file_is_refused_when_it_is_not_toml(tmp_path: Path, content: bytes) -> None:
    """The line says where."""
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    said = refusal({"DISPATCHER_CONFIG": str(path)})
    assert str(path) in said
    assert "\n" not in said


# What contradicts


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_api_needs_no_keys_when_it_is_on_loopback(address: str) -> None:
    """Only this machine can connect."""
    assert Settings.load({"API_LISTEN": address}).api_listen.is_loopback


@pytest.mark.parametrize("address", [":8081", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1"])
def test_api_is_refused_when_it_is_off_loopback_without_keys(address: str) -> None:
    """With keys it starts."""
    said = refusal({"API_LISTEN": address})
    assert f"API_LISTEN={address}" in said
    assert "API_KEYS" in said
    assert Settings.load({"API_LISTEN": address, "API_KEYS": "k"}).api_keys == (b"k",)


def test_directories_are_refused_when_they_are_the_same() -> None:
    """The two logs cannot share one."""
    said = refusal({"TRANSACTION_LOG": "log", "DEAD_LETTER": "./log"})
    assert "DEAD_LETTER=log" in said


# The value


def test_describe_hides_secrets_and_counts_them() -> None:
    """So does the text of the value itself."""
    settings = Settings.load({"LISTEN_KEYS": "sesame,sesame2", "API_KEYS": "sesame3"})
    assert settings.describe()["LISTEN_KEYS"] == "2 hidden"
    assert settings.describe()["API_KEYS"] == "1 hidden"
    assert "sesame" not in f"{settings!r} {settings} {settings.describe()}"


def test_settings_cannot_be_changed() -> None:
    """They are read once, at start."""
    with pytest.raises(pydantic.ValidationError):
        Settings.load({}).worker = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(Address("", 80), "port", 3)  # noqa: B010 # mypy knows it is frozen


def test_example_file_holds_every_setting_at_its_default() -> None:
    """config/dispatcher.toml is true."""
    path = Path(__file__).parents[2] / "config" / "dispatcher.toml"
    assert Settings.load({"DISPATCHER_CONFIG": str(path)}).describe() == DEFAULTS
    text = path.read_text(encoding="utf-8")
    for name in DEFAULTS:
        assert f"\n{name} = " in text or f"\n# {name} = " in text

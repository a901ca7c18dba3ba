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

from dispatcher.core.keys import Key, Role
from dispatcher.errors import ConfigError
from dispatcher.settings import Address, Settings
from dispatcher.settings.cores import cores
from dispatcher.settings.descriptors import attainable

HALF = min(attainable() // 2, 10_000)
"""Half of the descriptors that the tests' process may have."""

DEFAULTS = {
    "TRANSACTION_LOG": "transaction.log",
    "DEAD_LETTER": "deadletter.log",
    "LISTEN": ":80",
    "PROXY_LISTEN": "",
    "LISTEN_KEYS": [],
    "LISTEN_TLS_CERT": "",
    "LISTEN_TLS_KEY": "",
    "API_TLS_CERT": "",
    "API_TLS_KEY": "",
    "SOCKET_MODE": "0660",
    "PROCESSES": 1,
    "WORKER": 10,
    "WORKER_SLOW": HALF,
    "RETRYLIMIT": 10,
    "DEFAULT_TIMEOUT": 10_000,
    "EVENT_SOURCING": False,
    "RETRY_DELAY": 2000,
    "RETRY_MAX_DELAY": 3_600_000,
    "MAX_AGE": 0,
    "IDEMPOTENCY_WINDOW": 86_400_000,
    "ORDER_ON_DEAD": "continue",
    "RETRY_ON": [],
    "ACK_ANY_RESPONSE": False,
    "EGRESS": "any",
    "EGRESS_ALLOW": [],
    "EGRESS_DENY": [],
    "MAX_BODY": 64 * 1024 * 1024,
    "MAX_BACKLOG_BYTES": 0,
    "DEAD_LETTER_RETENTION": 2_592_000_000,
    "DEAD_LETTER_MAX_BYTES": 1_073_741_824,
    "IDLE_TIMEOUT": 75_000,
    "DRAIN_NOTICE": 0,
    "DRAIN_TIMEOUT": 10_000,
    "CALL_WORKER": 200,
    "CALL_TIMEOUT": 60_000,
    "CALL_RETRY_DELAY": 500,
    "CALL_RETRY_MAX_DELAY": 60_000,
    "CALL_DEFAULT_EXPIRATION": 86_400_000,
    "CALL_MAX_EXPIRATION": 31_536_000_000,
    "CALL_START_DELAY": 20,
    "CALL_STATE_SUSPECT_AFTER": 600_000,
    "CALL_TREE_MAX": 1_000_000,
    "RESULT_RETENTION": 86_400_000,
    "RESULT_MAX_BYTES": 1_073_741_824,
    "SIGNING_KEY": "signing.pem",
    "API_LISTEN": "127.0.0.1:8081",
    "API_KEYS": [],
    "AUDIT_MAX_BYTES": 16_777_216,
    "MASK_HEADERS": [],
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
    "TRACING": "off",
    "CLUSTER": [],
    "CLUSTER_CREDENTIALS": "",
    "CLUSTER_MONITORING": [],
    "PARTITIONS": 16,
    "NODE": "",
    "CLUSTER_LISTEN": ":8082",
    "CLUSTER_ADVERTISE": "",
    "CLUSTER_KEY": "",
    "CLUSTER_QUOTA": 1_073_741_824,
    "CLUSTER_TLS_CA": "",
    "CLUSTER_TLS_CERT": "",
    "CLUSTER_TLS_KEY": "",
}

RANGES = [
    ("PROCESSES", "processes", 0, 64),
    ("WORKER", "worker", 1, 100_000),
    ("WORKER_SLOW", "worker_slow", 1, 100_000),
    ("RETRYLIMIT", "retry_limit", 0, 1000),
    ("DEFAULT_TIMEOUT", "default_timeout_ms", 1, 3_600_000),
    ("RETRY_DELAY", "retry_delay_ms", 0, 31_536_000_000),
    ("RETRY_MAX_DELAY", "retry_max_delay_ms", 1, 31_536_000_000),
    ("MAX_BODY", "max_body_bytes", 0, 2**33),
    ("MAX_BACKLOG_BYTES", "max_backlog_bytes", 0, 2**63 - 1),
    ("DEAD_LETTER_RETENTION", "dead_letter_retention_ms", 0, 315_360_000_000),
    ("DEAD_LETTER_MAX_BYTES", "dead_letter_max_bytes", 0, 2**63 - 1),
    ("MAX_AGE", "max_age_ms", 0, 315_360_000_000),
    ("IDEMPOTENCY_WINDOW", "idempotency_window_ms", 1, 31_536_000_000),
    ("IDLE_TIMEOUT", "idle_timeout_ms", 1, 86_400_000),
    ("DRAIN_NOTICE", "drain_notice_ms", 0, 86_400_000),
    ("DRAIN_TIMEOUT", "drain_timeout_ms", 0, 86_400_000),
    ("CALL_WORKER", "call_worker", 1, 100_000),
    ("CALL_TIMEOUT", "call_timeout_ms", 1, 86_400_000),
    ("CALL_RETRY_DELAY", "call_retry_delay_ms", 1, 31_536_000_000),
    ("CALL_RETRY_MAX_DELAY", "call_retry_max_delay_ms", 1, 31_536_000_000),
    ("CALL_DEFAULT_EXPIRATION", "call_default_expiration_ms", 1, 315_360_000_000),
    ("CALL_MAX_EXPIRATION", "call_max_expiration_ms", 1, 315_360_000_000),
    ("CALL_START_DELAY", "call_start_delay_ms", 0, 60_000),
    ("CALL_STATE_SUSPECT_AFTER", "call_state_suspect_after_ms", 0, 31_536_000_000),
    ("CALL_TREE_MAX", "call_tree_max", 1, 1_000_000_000),
    ("RESULT_RETENTION", "result_retention_ms", 1, 315_360_000_000),
    ("RESULT_MAX_BYTES", "result_max_bytes", 0, 2**63 - 1),
    ("AUDIT_MAX_BYTES", "audit_max_bytes", 4 * 2**20, 2**40),
    ("PARTITIONS", "partitions", 1, 256),
]


def refusal(environ: Mapping[str, str]) -> str:
    """Load settings that are wrong, and return what is said about them."""
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ)
    return str(caught.value)


def secrets(keys: tuple[Key, ...]) -> list[str]:
    """The secrets of keys."""
    return [key.secret.decode() for key in keys]


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
    enough = {"WORKER": "64"}  # for as many processes
    if name == "PARTITIONS":
        enough |= {"CLUSTER": "nats://a,nats://b,nats://c", "CLUSTER_KEY": "0123456789abcdef"}
    assert getattr(Settings.load(enough | {name: str(low)}), field) == low
    assert getattr(Settings.load(enough | {name: str(high)}), field) == high


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


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DEFAULT_TIMEOUT", "500ms", "default_timeout_ms", 500),
        ("DRAIN_TIMEOUT", " 30s ", "drain_timeout_ms", 30_000),
        ("RETRY_MAX_DELAY", "1h30m", "retry_max_delay_ms", 5_400_000),
        ("RETRY_DELAY", "2s", "retry_delay_ms", 2000),
        ("MAX_AGE", "7d", "max_age_ms", 604_800_000),
        ("IDLE_TIMEOUT", "10m", "idle_timeout_ms", 600_000),
        ("DRAIN_NOTICE", "5s", "drain_notice_ms", 5000),
        ("DEAD_LETTER_RETENTION", "30d", "dead_letter_retention_ms", 2_592_000_000),
        ("MAX_BODY", "64KiB", "max_body_bytes", 65_536),
        ("MAX_BACKLOG_BYTES", "1GiB", "max_backlog_bytes", 2**30),
        ("DEAD_LETTER_MAX_BYTES", "10MB", "dead_letter_max_bytes", 10_000_000),
    ],
)
def test_duration_or_size_is_read_when_it_has_a_unit(
    tmp_path: Path, name: str, text: str, field: str, value: int
) -> None:
    """In the environment and in the file; what is shown is the number."""
    assert getattr(Settings.load({name: text}), field) == value
    assert Settings.load(toml(tmp_path, f'{name} = "{text}"')).describe()[name] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [("DEFAULT_TIMEOUT", "2h"), ("DEFAULT_TIMEOUT", "0s"), ("DRAIN_TIMEOUT", "25h"),
     ("DRAIN_TIMEOUT", "1.5s"), ("DRAIN_TIMEOUT", "10 s"), ("MAX_BODY", "9GiB"),
     ("MAX_BODY", "1G"), ("WORKER", "10s"), ("RETRYLIMIT", "1KiB")],
)  # fmt: skip
def test_duration_or_size_is_refused_when_out_of_range_or_of_another_kind(
    name: str, text: str
) -> None:
    """The range holds whatever the unit; a number of things has no unit."""
    assert f"{name}={text}" in refusal({name: text})


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


@pytest.mark.parametrize("name", ["LISTEN", "PROXY_LISTEN", "API_LISTEN"])
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
    settings = Settings.load({"LISTEN": ":1", name: text, "API_KEYS": "key"})
    found = {
        "LISTEN": settings.listen,
        "PROXY_LISTEN": settings.proxy_listen,
        "API_LISTEN": settings.api_listen,
    }
    assert found[name] == Address(host, port)


def test_there_is_no_proxy_when_its_address_is_empty(tmp_path: Path) -> None:
    """In the file as in the environment, where an empty variable wins nothing."""
    assert Settings.load(toml(tmp_path, 'PROXY_LISTEN = " "')).proxy_listen is None
    file = toml(tmp_path, 'PROXY_LISTEN = ":3128"')
    assert Settings.load(file | {"PROXY_LISTEN": ""}).describe()["PROXY_LISTEN"] == ":3128"
    assert Settings.load({}).proxy_listen is None


@pytest.mark.parametrize("name", ["LISTEN", "PROXY_LISTEN", "API_LISTEN"])
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
    assert secrets(settings.listen_keys) == ["one", "two", "three"]
    assert secrets(settings.api_keys) == ["k3y!"]
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


@pytest.mark.parametrize("name", ["LISTEN_KEYS", "API_KEYS"])
def test_key_has_a_name_and_a_role_when_it_has_three_parts(name: str) -> None:
    """Anything else is a secret as it stands, of an administrator, named by its place."""
    text = "ops:admin:s1,grafana:read:s2, my-app.1:dispatch:s3 ,bare,a:b,a:b:c,x:admin:y:z,a:Read:b"
    settings = Settings.load({name: text})
    keys = settings.listen_keys if name == "LISTEN_KEYS" else settings.api_keys
    assert [(key.name, key.role, key.secret.decode()) for key in keys] == [
        ("ops", Role.ADMIN, "s1"),
        ("grafana", Role.READ, "s2"),
        ("my-app.1", Role.DISPATCH, "s3"),
        ("key-4", Role.ADMIN, "bare"),
        ("key-5", Role.ADMIN, "a:b"),
        ("key-6", Role.ADMIN, "a:b:c"),
        ("key-7", Role.ADMIN, "x:admin:y:z"),
        ("key-8", Role.ADMIN, "a:Read:b"),
    ]


@pytest.mark.parametrize("value", ["ops:admin:", ":read:sesame", "o ps:read:sesame", "é:read:same"])
def test_named_key_is_refused_when_its_name_or_secret_cannot_be_one(value: str) -> None:
    """A key without a secret would let everybody in; a name has to be readable in a log."""
    said = refusal({"API_KEYS": value})
    assert "API_KEYS" in said
    assert "name:role:secret" in said
    assert "same" not in said


@pytest.mark.parametrize(
    "name", ["TRANSACTION_LOG", "DEAD_LETTER", "DISPATCHER_CONFIG", "SIGNING_KEY"]
)
@pytest.mark.parametrize(
    "path", ["'/var/lib/x'", '"log"', "lo\ng", "log\x7f", "lo\x00g", "l\x85og"]
)
def test_path_is_refused_when_it_has_quotes_or_control_characters(name: str, path: str) -> None:
    """They are slips of a shell or a file, and would make a directory of that name."""
    said = refusal({name: path})
    assert f"{name}=" in said
    assert "without quotes and control characters" in said


def test_path_is_taken_without_the_blanks_around_it(tmp_path: Path) -> None:
    """Those inside are part of it."""
    environ = toml(tmp_path, 'DEAD_LETTER = " /var/dead letters "')
    settings = Settings.load(
        {
            "TRANSACTION_LOG": " /var/lib/x\t",
            "DISPATCHER_CONFIG": f" {environ['DISPATCHER_CONFIG']} ",
        }
    )
    assert settings.transaction_log == Path("/var/lib/x")
    assert settings.dead_letter == Path("/var/dead letters")


# Secrets in files


@pytest.mark.parametrize("name", ["LISTEN_KEYS", "API_KEYS"])
@pytest.mark.parametrize(
    "content", ["one\nops:read:two\n", "one, ops:read:two", "\n one \r\nops:read:two"]
)
def test_secret_is_read_from_a_file_when_its_name_ends_in_file(
    tmp_path: Path, name: str, content: str
) -> None:
    """One a line or with commas, named in the environment or in the TOML file."""
    path = tmp_path / "keys"
    path.write_text(content, newline="")
    for environ in (
        {f"{name}_FILE": f" {path} "},
        toml(tmp_path, f'{name}_FILE = "{path}"'),
        toml(tmp_path, f'{name.lower()}_file = "{path}"'),
    ):
        settings = Settings.load(environ)
        keys = settings.listen_keys if name == "LISTEN_KEYS" else settings.api_keys
        assert secrets(keys) == ["one", "two"]
        assert "one" not in str(settings.describe())


def test_environment_wins_over_the_file_when_a_secret_is_in_either_form(tmp_path: Path) -> None:
    """`API_KEYS_FILE` there is `API_KEYS` there."""
    path = tmp_path / "keys"
    path.write_text("of-a-file")
    environ = toml(tmp_path, f'API_KEYS = "of-toml"\nLISTEN_KEYS_FILE = "{path}"\n')
    settings = Settings.load(environ | {"API_KEYS_FILE": str(path), "LISTEN_KEYS": "of-environ"})
    assert secrets(settings.api_keys) == ["of-a-file"]
    assert secrets(settings.listen_keys) == ["of-environ"]


def test_secret_and_its_file_are_refused_when_they_disagree(tmp_path: Path) -> None:
    """Nobody knows which was meant, and neither is shown; agreeing is no error."""
    path = tmp_path / "keys"
    path.write_text("sesame\n")
    said = refusal({"API_KEYS": "sesame2", "API_KEYS_FILE": str(path)})
    assert "API_KEYS (value hidden) and API_KEYS_FILE (value hidden) disagree" in said
    assert "sesame" not in said
    agreed = Settings.load({"API_KEYS": "sesame", "API_KEYS_FILE": str(path)})
    assert secrets(agreed.api_keys) == ["sesame"]


@pytest.mark.parametrize("content", [None, "", " \n\n", b"\xff\xfe", "good\n,,", "gööd"])
def test_secret_is_refused_when_its_file_is_missing_empty_or_unreadable(
    tmp_path: Path, content: str | bytes | None
) -> None:
    """Above all an empty file is not "no keys": that would let everybody in."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal({"API_KEYS_FILE": str(path)})
    assert "API_KEYS_FILE" in said
    assert "good" not in said


@pytest.mark.parametrize("value", ["99", "200", "600", "404,", "4xx", "-404"])
def test_retry_on_is_refused_when_an_item_is_not_a_status(value: str) -> None:
    """Status codes are 300 to 599: 2xx is always delivered, and 1xx is no answer."""
    said = refusal({"RETRY_ON": value})
    assert f"RETRY_ON={value}" in said
    assert "300 to 599" in said


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
    said = refusal({"WORKER": "0", "LISTEN": "x", "MAX_BODY": "1 M", "LOG_LEVEL": "loud"})
    assert all(text in said for text in ("WORKER=0", "LISTEN=x", "MAX_BODY=1 M", "LOG_LEVEL=loud"))


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
    assert secrets(settings.listen_keys) == ["a b", "c"]
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
     "API_KEYS_FILE = 1", "API_KEYS_FILE = ''",
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


@pytest.mark.parametrize("name", ["LISTEN", "API_LISTEN"])
def test_proxy_is_refused_when_it_has_the_address_of_another_listener(name: str) -> None:
    """Else the start would say that another program has it. Port 0 is a free one each."""
    said = refusal({name: "127.0.0.1:81", "PROXY_LISTEN": "127.0.0.1:81"})
    assert f"PROXY_LISTEN=127.0.0.1:81: expected another address than {name}" in said
    free = Settings.load({name: "127.0.0.1:0", "PROXY_LISTEN": "127.0.0.1:0"})
    assert free.proxy_listen == Address("127.0.0.1", 0)


def test_fewer_workers_than_processes_are_refused() -> None:
    """Each of them delivers. One for each core are as many as there are workers for."""
    said = refusal({"WORKER": "3", "PROCESSES": "4"})
    assert "WORKER=3: expected at least PROCESSES=4" in said
    assert Settings.load({"WORKER": "4", "PROCESSES": "4"}).process_count == 4
    assert Settings.load({"WORKER": "1", "PROCESSES": "0"}).process_count == 1
    assert Settings.load({"PROCESSES": "0"}).process_count == min(cores(), 10)


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
    assert secrets(Settings.load({"API_LISTEN": address, "API_KEYS": "k"}).api_keys) == ["k"]


def test_signing_key_lies_beside_the_transaction_log_when_nothing_else_is_said() -> None:
    """Not in it: what is in the log's directory is the log's."""
    settings = Settings.load({"TRANSACTION_LOG": "/var/lib/x/log"})
    assert settings.signing_key == Path("/var/lib/x/signing.pem")
    assert settings.changed() == {"TRANSACTION_LOG": "/var/lib/x/log"}
    assert Settings.load({"SIGNING_KEY": "/etc/k.pem"}).signing_key == Path("/etc/k.pem")
    assert "TRANSACTION_LOG" in refusal({"TRANSACTION_LOG": "'x'"})


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


def test_changed_settings_are_those_that_are_not_at_their_default() -> None:
    """Also when a default was given as it is; secrets stay hidden."""
    settings = Settings.load({"WORKER": "5", "LISTEN": ":80", "API_KEYS": "sesame"})
    assert settings.changed() == {"WORKER": 5, "API_KEYS": "1 hidden"}
    assert Settings.load({}).changed() == {}


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


def test_only_what_is_wrong_is_named_when_a_default_follows_from_others() -> None:
    """The default of SIGNING_KEY is beside TRANSACTION_LOG: nobody can mend it."""
    with pytest.raises(ConfigError) as refused:
        Settings.load({"WORKER": "many"})
    assert str(refused.value) == "WORKER=many: expected a whole number from 1 to 100000"

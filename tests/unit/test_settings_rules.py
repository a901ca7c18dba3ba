"""`[[destination]]` and `[[group]]` in the configuration file."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.core.destination import Origin
from dispatcher.core.rate import Rate
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules, RulesInForce
from dispatcher.errors import ConfigError
from dispatcher.settings import Settings, loaded
from dispatcher.settings.rules import described, destinations, groups, load

KEY = base64.b64encode(bytes(range(32))).decode()


def written(tmp_path: Path, text: str) -> dict[str, str]:
    """An environment that names a file."""
    path = tmp_path / "dispatcher.toml"
    path.write_text(text)
    return {"DISPATCHER_CONFIG": str(path)}


def only(tmp_path: Path, text: str, **environ: str) -> Rule:
    """The one rule of a table with these keys."""
    table = f'[[destination]]\nmatch = "a.example"\n{text}\n'
    (rule,) = load(written(tmp_path, table) | environ).rules
    return rule


def refused(tmp_path: Path, text: str, **environ: str) -> str:
    """What is said of a table with these keys."""
    with pytest.raises(ConfigError) as caught:
        only(tmp_path, text, **environ)
    return str(caught.value)


def test_without_a_file_or_tables_there_are_no_rules(tmp_path: Path) -> None:
    """And nobody is asked for any: what is in force has none."""
    assert load({}) == load(written(tmp_path, "WORKER = 3")) == Rules()
    assert RulesInForce(load({})).rules is None


def test_settings_and_tables_stand_in_one_file(tmp_path: Path) -> None:
    """The tables are no settings, and the settings no rules."""
    environ = written(tmp_path, 'WORKER = 3\n[[destination]]\nmatch = "a"\ntimeout = "1s"\n')
    found, rules = loaded.load(environ)
    assert found.worker == Settings.load(environ).worker == 3
    assert [rule.timeout_ms for rule in rules.rules] == [1000]


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ('rate = "50/s"', "rate", Rate(50, 1_000_000, burst=50)),
        ('rate = "10/1m"', "rate", Rate(10, 60_000_000, burst=1)),
        ('rate = "90/m"', "rate", Rate(90, 60_000_000, burst=1)),
        ('rate = "50/s"\nburst = 7', "rate", Rate(50, 1_000_000, burst=7)),
        ("concurrency = 4", "concurrency", 4),
        ('timeout = "1m30s"', "timeout_ms", 90_000),
        ("timeout = 500", "timeout_ms", 500),
        ("retries = 0", "retries", 0),
        ('retry_delay = "5m"', "retry_delay_ms", 300_000),
        ("retry_on = [404, 409]", "retry_on", frozenset((404, 409))),
        ('retry_on = "404"', "retry_on", frozenset((404,))),
        ("retry_on = []", "retry_on", frozenset()),
        ("ack = [409, 503]", "ack", frozenset((409, 503))),
    ],
)
def test_each_key_gives_its_field(tmp_path: Path, text: str, field: str, value: object) -> None:
    """Numbers, durations with units and lists as settings have them."""
    assert getattr(only(tmp_path, text), field) == value


def test_what_is_not_given_is_nothing(tmp_path: Path) -> None:
    """A rule says only what it says."""
    assert only(tmp_path, "") == Rule(only(tmp_path, "").match)


def test_secrets_come_from_the_environment_a_file_or_are_literal(tmp_path: Path) -> None:
    """Blanks and line ends around them are no part of them; no repr shows them."""
    (tmp_path / "token").write_text("of-a-file\n")
    rule = only(
        tmp_path,
        f'headers = {{A = "env:TOKEN", b-C = "file:{tmp_path}/token", D = "it-self"}}',
        TOKEN=" of-the-environment ",
    )
    values = [(header.name, header.value.value) for header in rule.headers]
    assert values == [("A", b"of-the-environment"), ("b-C", b"of-a-file"), ("D", b"it-self")]
    for value in (b"of-the-environment", b"of-a-file", b"it-self"):
        assert value.decode() not in repr(rule)
    assert described(Rules([rule]))["destination"][0]["headers"] == {
        "A": "env:TOKEN",
        "b-C": f"file:{tmp_path}/token",
        "D": "hidden",
    }


def test_keys_of_signatures_stand_in_their_order(tmp_path: Path) -> None:
    """The newest first; several in one file."""
    keys = [base64.b64encode(bytes([n]) * 24).decode() for n in range(4)]
    (tmp_path / "keys").write_text(f"whsec_{keys[1]}\nwhsec_{keys[2]}\n")
    rule = only(
        tmp_path,
        'sign = {kind = "standard-webhooks", secrets = '
        f'["env:NEWEST", "file:{tmp_path}/keys", "{keys[3]}"]}}',
        NEWEST=f"whsec_{keys[0]}",
    )
    assert rule.sign is not None
    assert [secret.value for secret in rule.sign.secrets] == [bytes([n]) * 24 for n in range(4)]
    assert keys[3] not in repr(rule)
    assert keys[3] not in str(described(Rules([rule])))


def test_certificates_are_read_and_tried(tmp_path: Path) -> None:
    """A rule with another content of the same file is another rule."""
    authority = trustme.CA()
    made = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    text = "\n".join(f'{name} = "{tmp_path}/{name}.pem"' for name in ("ca", "cert", "key"))
    rule = only(tmp_path, text)
    assert rule.ca is not None
    assert rule.ca.path == f"{tmp_path}/ca.pem"
    assert rule == only(tmp_path, text)
    assert only(tmp_path, f'cert = "file:{tmp_path}/both.pem"').key is None
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert rule != only(tmp_path, text)
    trustme.CA().issue_cert("other.example").private_key_pem.write_to_path(tmp_path / "key.pem")
    assert "key values mismatch" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("timeuot = 3", "timeuot: no such key; did you mean timeout?"),
        ("Retries = 3", "Retries: no such key; did you mean retries?"),
        ("xyz = 3", "xyz: no such key; it has match, rate,"),
        ('rate = "50"', "rate=50: expected a number, a slash and a time"),
        ('rate = "2000000/s"', "rate=2000000/s: expected a number"),
        ("burst = 3", "burst is the burst of a rate: expected rate beside it"),
        ('rate = "5/s"\nburst = 0', "burst=0: expected a whole number from 1"),
        ("concurrency = 0", "concurrency=0: expected a whole number from 1 to 100000"),
        ("timeout = 0", "timeout=0: expected a whole number from 1 to 3600000"),
        ("retries = 1001", "retries=1001: expected a whole number from 0 to 1000"),
        ("retries = true", "retries=True: expected a whole number"),
        ("ack = [200]", "ack=[200]: expected status codes from 300 to 599"),
        ("ack = [409]\nretry_on = [409]", "409 in ack and in retry_on"),
        ("headers = 3", "headers: expected a table"),
        ('headers = {Host = "x"}', "headers: Host is written by the dispatcher itself"),
        ('headers = {Content-Length = "x"}', "Content-Length is written by the dispatcher"),
        ('headers = {X-Dispatcher-Key = "x"}', "names that begin with X-Dispatcher- are"),
        ('headers = {"a b" = "x"}', "a b is no name of a header"),
        ('headers = {a = "x", A = "y"}', "a is given twice"),
        ('headers = {a = "env:NOT_SET"}', "a: the variable NOT_SET is not set, or empty"),
        ('headers = {a = "file:/not/there"}', "a: the file /not/there cannot be read: No such"),
        ('headers = {a = "se\\r\\ncret: 1"}', "a: it has a line end or another control"),
        ('headers = {a = ""}', "a: it is empty"),
        ('headers = {a = "", Host = "x", b = ""}', "a: it is empty; Host is written by the"),
        ("headers = {a = 3}", "a: expected text"),
        ('sign = "x"', 'sign: expected {kind = "standard-webhooks"'),
        ('sign = {kind = "svix", secrets = ["x"]}', 'sign: expected kind = "standard-webhooks"'),
        ('sign = {kind = "standard-webhooks"}', "sign: expected one secret or more"),
        (
            'sign = {kind = "standard-webhooks", secrets = ["se-cret"]}',
            "sign: a secret is no key in base64",
        ),
        (
            'sign = {kind = "standard-webhooks", secrets = ["whsec_"]}',
            "sign: a secret is no key in base64",
        ),
        (
            f'sign = {{kind = "standard-webhooks", secrets = {11 * [f"whsec_{KEY}"]}}}',
            "sign: expected 10 secrets at most",
        ),
        (
            f'sign = {{kind = "standard-webhooks", secrets = ["whsec_{KEY}"]}}\n'
            'headers = {Webhook-Id = "x"}',
            "Webhook-Id in headers: sign writes it",
        ),
        ('ca = "/not/there"', "ca: the file /not/there cannot be read: No such file"),
        ('ca = "env:PEM"', "ca: expected the path of a PEM file"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    """Which table, which key, what is expected; and no secret."""
    said = refused(tmp_path, text)
    assert said.startswith("destination 1 (a.example): ")
    assert sentence in said
    assert "cret" not in said.replace("secret", "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[destination]]\nretries = 3", "destination 1: match is missing"),
        ('[[destination]]\nmatch = "ftp://a"', "its scheme must be http or https"),
        ('[[destination]]\nmatch = "a b"', "it must be host, host:port"),
        ('[[destination]]\nmatch = "a/b?c"', "without ? and #"),
        ('[[destination]]\nmatch = "http://me:pass@a"', "match=http://***@a: expected"),
        ('[[destination]]\nmatch = "http://a"\nca = "CA"', "expected a match without http://"),
        ('[[destination]]\nmatch = "a"\nkey = "CA"', "expected cert beside it"),
        ('[destination]\nmatch = "a"', "expected tables, each under a line [[destination]]"),
        ("destination = 3", "expected tables, each under a line [[destination]]"),
        ("destination = [3]", "expected tables, each under a line [[destination]]"),
        ('[[group]]\nname = "a"', "group 1 (a): members is missing"),
        ('[[group]]\nname = "a b"\nmembers = ["x"]', "name=a b: expected 1 to 64 letters"),
        ('[[group]]\nname = "a"\nmembers = []', "expected a list of 1 to 250 places"),
        ('[[group]]\nname = "8080"\nmembers = ["x"]', "group:8080 is a port of the host group"),
        ('[[group]]\nname = "a"\nmembers = ["x?y"]', "it must not contain a query"),
        ('[[group]]\nname = "a"\nmembers = ["x", "http://X/"]', "expected each place once"),
        ('[[group]]\nname = "a"\nmember = ["x"]', "member: no such key; did you mean members?"),
        (
            '[[group]]\nname = "a"\nmembers = ["x"]\n[[group]]\nname = "a"\nmembers = ["y"]',
            "group a: there are several of this name",
        ),
    ],
)
def test_tables_that_are_none_are_told(tmp_path: Path, text: str, sentence: str) -> None:
    """Groups too. A password that stands in a URL by mistake is not repeated."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text.replace('"CA"', f'"{tmp_path}/ca.pem"')))
    assert sentence in str(caught.value)
    assert "pass@" not in str(caught.value)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Of all tables, and of the settings beside them; a misspelt table is a misspelt setting."""
    text = 'WORKER = 0\n[[destination]]\nmatch = "a"\nretries = -1\ntimeout = "x"\n[[group]]\n'
    environ = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        loaded.load(environ)
    for part in ("WORKER=0", "retries=-1", "timeout=x", "group 1: name is missing"):
        assert part in str(caught.value)
    with pytest.raises(ConfigError, match=r"did you mean \[\[destination\]\]\?"):
        Settings.load(written(tmp_path, '[[destinations]]\nmatch = "a"'))


def test_a_file_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    """It is read for the settings and for the rules, and is one mistake."""
    with pytest.raises(ConfigError) as caught:
        loaded.load({"DISPATCHER_CONFIG": str(tmp_path / "no")})
    assert str(caught.value).count("No such file") == 1


def test_groups_have_names_and_places(tmp_path: Path) -> None:
    """A member is what X-Dispatcher-Origin-Host takes, a base path included."""
    text = '[[group]]\nname = "all"\nmembers = ["http://a.example/base", "https://b.example:8443"]'
    rules = load(written(tmp_path, text))
    group = rules.group("all")
    assert group is not None
    assert group.members == (
        Origin.parse(b"http://a.example/base"),
        Origin.parse(b"https://b.example:8443"),
    )
    assert rules.group("other") is None
    assert described(rules)["group"] == [
        {"name": "all", "members": ["http://a.example/base", "https://b.example:8443"]}
    ]


values = st.recursive(
    st.text(max_size=10)
    | st.integers()
    | st.booleans()
    | st.floats()
    | st.sampled_from(["env:", "env:A", "file:", "file:/", "file:\0", "*", "50/s", KEY]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "secrets", "A", "a b"]), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from([*destinations.KEYS, *groups.KEYS, "other"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, max_size=6))
def test_garbage_is_told_and_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, table: dict[str, Any]
) -> None:
    """Whatever stands in a table: rules that can be shown, or a sentence for what is wrong."""
    monkeypatch.setattr(
        "dispatcher.settings.rules.loading.tables",
        lambda environ: {"destination": [table], "group": [table]},
    )
    with pytest.raises(ConfigError):
        load({"A": "value"})


ROOT = Path(__file__).parents[2]


def filled(tmp_path: Path, text: str) -> dict[str, str]:
    """An environment for an example, with the variables and files that it names."""
    authority = trustme.CA()
    made = authority.issue_cert("client.example")
    files = {"-ca.pem": authority.cert_pem, ".pem": made.cert_chain_pems[0]}
    files[".key"] = made.private_key_pem
    for end in ("-ca.pem", ".key", ".pem"):
        path = tmp_path / f"file{end}"
        files[end].write_to_path(path)
        text = re.sub(rf'"[^"]*{end}"', f'"{path}"', text)
    (tmp_path / "secret").write_text(f"whsec_{KEY}\n")
    text = re.sub(r"file:[^\"]*", f"file:{tmp_path}/secret", text)
    variables = dict.fromkeys(re.findall(r"env:(\w+)", text), "value")
    return written(tmp_path, text) | variables


@pytest.mark.parametrize(
    "text",
    [
        example
        for page in ("README.md", "docs/rules.md")
        for example in re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    ],
)
def test_examples_of_the_documentation_are_rules(tmp_path: Path, text: str) -> None:
    """What README.md and docs/rules.md show can be copied."""
    rules = load(filled(tmp_path, text))
    assert rules.rules or rules.groups


def test_every_key_is_explained_with_an_example() -> None:
    """docs/rules.md has them all."""
    text = (ROOT / "docs/rules.md").read_text("utf-8")
    examples = "".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    for key in destinations.KEYS:
        assert re.search(rf"^{key} = ", examples, re.M), key
        assert key == "match" or f"| `{key}` |" in text, key


def test_rules_in_the_example_file_are_rules(tmp_path: Path) -> None:
    """config/dispatcher.toml has them as comments, each key once at least."""
    text = (ROOT / "config/dispatcher.toml").read_text("utf-8").partition("# --- Rules")[2]
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    text = "\n".join(line for line in lines if re.match(r"\[\[|[a-z_]+ = ", line))
    rules = load(filled(tmp_path, text))
    assert len(rules.rules) >= 3
    missing = [key for key in destinations.KEYS if not re.search(rf"^{key} = ", text, re.M)]
    assert missing == []

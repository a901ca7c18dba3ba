"""What a rule adds to the head of a request, and what it takes out of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.destination import Origin
from dispatcher.core.message import RUN, Message
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Header, PemFile, Rule, Secret, Sign
from dispatcher.core.rules.table import Rules
from dispatcher.delivery.adding import Addition, Additions
from dispatcher.delivery.trust import Trust
from dispatcher.errors import ConfigError
from dispatcher.protocol import webhooks
from dispatcher.settings.rules import load
from dispatcher.testing.delivery import RecordingHome

NOW_S = 1_700_000_000
RULE = Rule(Match("a.example"))
SIGNED = Sign((Secret(b"new", "hidden"), Secret(b"old", "hidden")))


def headers(*pairs: tuple[str, bytes]) -> tuple[Header, ...]:
    return tuple(Header(name, Secret(value, "env:TOKEN")) for name, value in pairs)


def head_of(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"POST /a:b HTTP/1.1", b"Host: a.example", *lines))


def message(head: bytes, body: bytes = b"") -> Message:
    made = Message(Origin.parse(b"a.example").destination, head, body, timeout_ms=0, accepted_at=0)
    made.wire_id = b"00010000002a"
    return made


def naive(head: bytes, added: list[tuple[bytes, bytes]]) -> bytes:
    """Line by line: without those whose name is added, and what is added behind them."""
    first, *lines = head.removesuffix(b"\r\n").split(b"\r\n")
    names = {name.lower() for name, _ in added}
    kept = [line for line in lines if line.partition(b":")[0].lower() not in names]
    return b"".join(
        line + b"\r\n" for line in [first, *kept, *(name + b": " + value for name, value in added)]
    )


NAMES = st.sampled_from(
    [b"a", b"A", b"ab", b"a.b", b"axb", b"Authorization", b"AUTHORIZATION", b"x-a", b"webhook-id"]
)
VALUES = st.binary(max_size=12).map(
    lambda value: value.translate(None, b"\r\n\0")
) | st.sampled_from([b"", b"a: b", b"authorization: x", b"\xe4\xff"])
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t "]), VALUES).map(b"".join))


@given(LINES, st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda one: one[0].lower()))
def test_head_is_what_a_naive_model_makes_of_it(
    lines: list[bytes], added: list[tuple[bytes, bytes]]
) -> None:
    """Whatever the caller's lines are, in whatever case, once or several times or not at all."""
    rule = replace(RULE, headers=headers(*((name.decode(), value) for name, value in added)))
    head = head_of(*lines)
    assert Addition(rule).head(message(head), None) == naive(head, added)


def test_signature_is_over_the_message_and_takes_the_place_of_the_callers() -> None:
    """Who could send one along could repeat an old one. One for each secret, the newest first."""
    addition = Addition(replace(RULE, sign=SIGNED))
    sent = message(head_of(b"Webhook-Id: theirs", b"a: 1", b"WEBHOOK-SIGNATURE: v1,x"), b"body")
    signing = addition.signing(sent, NOW_S)
    assert signing is not None
    signing.add(b"body")
    secrets = [webhooks.Secret(b"new"), webhooks.Secret(b"old")]
    made = webhooks.sign(secrets, "00010000002a", NOW_S, b"body")
    assert addition.head(sent, signing) == head_of(b"a: 1") + made.head


def test_run_of_a_call_keeps_what_its_own_signature_covers() -> None:
    """It is not signed a second time, and a rule adds to it only what it has not."""
    rule = replace(RULE, sign=SIGNED, headers=headers(("content-type", b"x"), ("Token", b"t")))
    addition = Addition(rule)
    run = message(head_of(b"Content-Type: application/proto"))
    run.kind = RUN
    assert addition.signing(run, NOW_S) is None
    assert addition.head(run, None) == run.head + b"Token: t\r\n"


def test_no_value_is_in_what_a_debugger_shows() -> None:
    """Nor in what a failing test or a log line would."""
    rule = replace(RULE, sign=SIGNED, headers=headers(("Token", b"hush")))
    shown = f"{Addition(rule)!r} {Additions.load(Rules([rule]))!r} {rule!r}"
    assert not any(secret in shown for secret in ("hush", "new", "old"))


def test_rules_that_add_nothing_cost_nothing() -> None:
    """There is nobody to ask for an addition then."""
    assert Additions.load(Rules([replace(RULE, retries=3)])) is None


def test_message_gets_what_its_own_rule_adds() -> None:
    """The first one that matches, and none of another."""
    plain = replace(RULE, match=Match("a.example", prefix=b"/plain"), retries=3)
    with_token = replace(RULE, headers=headers(("Token", b"t")))
    additions = Additions.load(Rules([plain, with_token]))
    assert additions is not None
    made = RecordingHome().outgoing("a.example", target="/x")
    found = additions.of(made)
    assert found is not None
    assert found.head(made, None).endswith(b"Token: t\r\n")
    assert additions.of(RecordingHome().outgoing("a.example", target="/plain")) is None
    assert additions.of(RecordingHome().outgoing("b.example")) is None


def pem(path: Path, content: bytes) -> PemFile:
    path.write_bytes(content)
    return PemFile(str(path), content)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certified(authority: trustme.CA, tmp_path: Path) -> Rule:
    """A rule with an authority and a client certificate."""
    client = authority.issue_cert("client.example")
    return replace(
        RULE,
        ca=pem(tmp_path / "ca.pem", authority.cert_pem.bytes()),
        cert=pem(tmp_path / "cert.pem", client.cert_chain_pems[0].bytes()),
        key=pem(tmp_path / "key.pem", client.private_key_pem.bytes()),
    )


def trust_of(additions: Additions | None) -> Trust:
    """What secures connections to `a.example`."""
    assert additions is not None
    found = additions.of(RecordingHome().outgoing("a.example"))
    assert found is not None
    assert found.trust is not None
    return found.trust


def test_certificates_that_have_not_changed_are_not_loaded_anew(
    certified: Rule, authority: trustme.CA, tmp_path: Path
) -> None:
    """So connections stay in use when something else in the file has changed, and only then."""
    before = Additions.load(Rules([certified]))
    after = Additions.load(Rules([replace(certified, retries=3)]), before)
    assert trust_of(after) is trust_of(before)
    bundle = authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes()
    changed = replace(certified, ca=pem(tmp_path / "ca.pem", bundle))
    assert trust_of(Additions.load(Rules([changed]), after)).mark != trust_of(before).mark


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\n"])
def test_file_that_changes_while_it_is_read_is_not_half_taken(
    certified: Rule, tmp_path: Path, name: str, content: bytes | None
) -> None:
    """What OpenSSL reads has to be what the rule has read; else connections would be taken for
    others. A rule beside it that is in order is not named."""
    path = tmp_path / f"{name}.pem"
    path.write_bytes(path.read_bytes() + b"\n" if content is None else content)
    with pytest.raises(ConfigError) as caught:
        Additions.load(Rules([RULE, certified]))
    assert str(caught.value).startswith("destination 2 (a.example): ")
    assert str(path) in str(caught.value)
    assert "changed while it was read" in str(caught.value)


def test_key_that_has_a_passphrase_now_is_not_asked_about(certified: Rule, tmp_path: Path) -> None:
    """OpenSSL would ask at the terminal, and wait."""
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    with pytest.raises(ConfigError, match="changed while it was read"):
        Additions.load(Rules([certified]))


def test_every_rule_with_a_mistake_is_named_at_once(certified: Rule, tmp_path: Path) -> None:
    """Not one with each start."""
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(ConfigError, match=r"destination 1 .*destination 2 "):
        Additions.load(Rules([certified, certified]))


def test_example_of_the_page_can_be_used(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table of docs/rules.md, with the files and variables that it names."""
    page = (Path(__file__).parents[2] / "docs/rules.md").read_text(encoding="utf-8")
    example = "".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    client = authority.issue_cert("client.example")
    files = {
        "rules.toml": example.encode(),
        "secrets/new": b"whsec_bmV3\n",
        "secrets/old": b"whsec_b2xk\n",
        "certs/partner-ca.pem": authority.cert_pem.bytes(),
        "certs/client.pem": client.cert_chain_pems[0].bytes(),
        "certs/client.key": client.private_key_pem.bytes(),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    additions = Additions.load(load({"DISPATCHER_CONFIG": "rules.toml", "HOOKS_TOKEN": "t"}))
    assert additions is not None
    for where in ("https://hooks.example.com", "https://eu.partner.example"):
        assert additions.of(RecordingHome().outgoing(where)) is not None

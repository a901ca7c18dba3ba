"""Signatures of messages: what the reference of Standard Webhooks makes is accepted here, and the
other way round; nothing else is."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from dispatcher.protocol.webhooks import (
    ID,
    SIGNATURE,
    TIMESTAMP,
    Secret,
    SignatureExpired,
    SignatureMalformed,
    SignatureMissing,
    SignatureRefused,
    SignatureWrong,
    Signing,
    sign,
    verify,
)

KEY = bytes(range(32))
WRITTEN = "whsec_" + base64.b64encode(KEY).decode()
SECRET = Secret.read(WRITTEN)
OTHER = Secret.read("a secret as people write it, ä".encode())
BODY = '{"name": "Ada", "city": "Zürich"}'.encode()
NOW_S = 1_700_000_000


def signed(*secrets: Secret, body: bytes = BODY, at_s: int = NOW_S) -> dict[str, str]:
    return sign(secrets or (SECRET,), "msg_1", at_s, body).headers


def check(headers: dict[str, str], *secrets: Secret, body: bytes = BODY) -> str:
    return verify(secrets or (SECRET,), headers.items(), body, now_s=NOW_S)


def test_signature_is_that_of_the_published_vector() -> None:
    """The example of the Standard Webhooks repository's libraries, byte for byte."""
    secret = Secret.read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made.signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_accepts_what_is_signed_here() -> None:
    """With a secret as text, and as bytes; only one of the signatures fits theirs."""
    now_s = int(datetime.now(UTC).timestamp())
    headers = signed(OTHER, SECRET, at_s=now_s)
    assert Webhook(WRITTEN).verify(BODY, headers)["city"] == "Zürich"
    assert Webhook(OTHER.key).verify(BODY, headers)["city"] == "Zürich"


def test_what_the_reference_signs_is_accepted_here() -> None:
    """With a secret as text, and as bytes."""
    at = datetime.fromtimestamp(NOW_S, UTC)
    for theirs, ours in ((Webhook(WRITTEN), SECRET), (Webhook(OTHER.key), OTHER)):
        signature = theirs.sign("msg_2", at, BODY.decode())
        headers = {ID: "msg_2", TIMESTAMP: str(NOW_S), SIGNATURE: signature}
        assert check(headers, ours) == "msg_2"


def test_a_body_in_pieces_has_the_signature_of_the_whole() -> None:
    """However it is cut."""
    signing = Signing([SECRET, OTHER], "msg_1", NOW_S)
    for place in range(0, len(BODY), 5):
        signing.add(memoryview(BODY)[place : place + 5])
    assert signing.signed.headers == signed(SECRET, OTHER)


def test_head_is_the_three_headers_as_lines() -> None:
    """As they are put into a request."""
    made = sign([SECRET], "msg_1", NOW_S, BODY)
    assert made.head.decode().split("\r\n") == [
        "webhook-id: msg_1",
        "webhook-timestamp: 1700000000",
        f"webhook-signature: {made.signature}",
        "",
    ]


def test_one_secret_in_common_is_enough_while_secrets_change() -> None:
    """The sender has a new one already, or the receiver has."""
    new = Secret.read(b"the next")
    assert check(signed(new, SECRET), SECRET) == "msg_1"
    assert check(signed(SECRET), new, SECRET) == "msg_1"
    with pytest.raises(SignatureWrong):
        check(signed(new), SECRET, OTHER)


def test_signatures_of_other_versions_are_passed_over() -> None:
    """As v1a, which is of a pair of keys."""
    headers = signed()
    headers[SIGNATURE] = f"v1a,AAAA  {headers[SIGNATURE]} v2,é x"
    assert check(headers) == "msg_1"


def test_names_of_headers_may_be_in_any_case() -> None:
    """As in HTTP."""
    assert check({name.title(): value for name, value in signed().items()}) == "msg_1"


@pytest.mark.parametrize("apart_s", [-300, 0, 300])
def test_signature_is_accepted_within_the_tolerance(apart_s: int) -> None:
    """On both sides of the clock."""
    assert check(signed(at_s=NOW_S + apart_s)) == "msg_1"


@pytest.mark.parametrize("apart_s", [-301, 301, -NOW_S, 10**11])
def test_signature_is_refused_outside_of_the_tolerance(apart_s: int) -> None:
    """Too old, or from the future."""
    with pytest.raises(SignatureExpired, match=r"compare the clocks"):
        check(signed(at_s=NOW_S + apart_s))


def test_tolerance_is_the_receivers() -> None:
    """A message that waited for long on its way may be accepted all the same."""
    headers = signed(at_s=NOW_S - 86_400)
    assert verify([SECRET], headers.items(), BODY, now_s=NOW_S, tolerance_s=90_000) == "msg_1"


@pytest.mark.parametrize(
    "changed", [{ID: "msg_2"}, {TIMESTAMP: str(NOW_S + 1)}, {TIMESTAMP: f"0{NOW_S}"}]
)
def test_signature_is_wrong_for_another_id_or_time(changed: dict[str, str]) -> None:
    """They are signed too."""
    with pytest.raises(SignatureWrong):
        check(signed() | changed)


def test_signature_is_wrong_for_another_body() -> None:
    """A blank more is another body."""
    with pytest.raises(SignatureWrong, match="secret"):
        check(signed(), body=BODY + b" ")


@pytest.mark.parametrize("name", [ID, TIMESTAMP, SIGNATURE])
def test_a_header_that_is_not_there_is_named(name: str) -> None:
    """Empty is as good as not there."""
    for headers in (signed() | {name: " "}, {k: v for k, v in signed().items() if k != name}):
        with pytest.raises(SignatureMissing, match=name):
            check(headers)


@pytest.mark.parametrize("name", [ID, TIMESTAMP, SIGNATURE])
def test_a_header_that_stands_twice_is_refused(name: str) -> None:
    """Whoever reads the first and whoever reads the last would see different messages."""
    headers = [*signed().items(), (name.upper(), signed()[name])]
    with pytest.raises(SignatureMalformed, match=f"{name} stands twice"):
        verify([SECRET], headers, BODY, now_s=NOW_S)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (ID, "a b"),
        (ID, "ä"),
        (ID, "x" * 256),
        (TIMESTAMP, "1700000000.5"),
        (TIMESTAMP, "-1"),
        (TIMESTAMP, "1_700_000_000"),
        (TIMESTAMP, "١٧٠٠٠٠٠٠٠٠"),
        (TIMESTAMP, "9" * 5000),
        (SIGNATURE, "v1"),
        (SIGNATURE, "v1a,AAAA"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(name: str, value: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(SignatureMalformed, match=name):
        check(signed() | {name: value})


def test_signatures_that_are_cut_or_padded_are_wrong() -> None:
    """Only the whole one fits."""
    right = signed()[SIGNATURE]
    for value in ("v1,", right[:-1], right + "=", "v1,ä", right.replace(" ", "")[:20]):
        with pytest.raises(SignatureWrong):
            check(signed() | {SIGNATURE: value})


@pytest.mark.parametrize("written", ["whsec_", "whsec_A!B", "", b"", "whsk_A!B", "whpk_A!B"])
def test_a_secret_that_is_none_is_refused(written: str | bytes) -> None:
    """Empty, not base64, or a key of a pair; what it is stands in no message."""
    with pytest.raises(ValueError, match=r"secret|base64") as caught:
        Secret.read(written)
    assert "A!B" not in str(caught.value)


def test_a_secret_may_lack_its_prefix() -> None:
    """The reference reads it so, too."""
    bare = WRITTEN.removeprefix("whsec_")
    assert Secret.read(bare) == Secret.read(WRITTEN)
    now_s = int(datetime.now(UTC).timestamp())
    assert Webhook(bare).verify(BODY, signed(Secret.read(bare), at_s=now_s))["city"] == "Zürich"


def test_a_secret_may_lack_its_padding() -> None:
    """As some write it."""
    assert Secret.read("whsec_" + base64.b64encode(b"four").decode().rstrip("=")).key == b"four"


def test_a_secret_is_not_shown() -> None:
    """In no trace and no log."""
    assert repr(SECRET) == "Secret()"


@pytest.mark.parametrize("message_id", ["", "a b", "a\r\nb", "ä", "x" * 256])
def test_an_id_that_no_header_can_carry_is_not_signed(message_id: str) -> None:
    """Else it would break the request's lines."""
    with pytest.raises(ValueError, match="visible"):
        sign([SECRET], message_id, NOW_S, b"")


def test_nothing_is_signed_without_a_secret() -> None:
    """It would be accepted by nobody."""
    with pytest.raises(ValueError, match="secret"):
        sign([], "msg_1", NOW_S, b"")


def test_nothing_is_accepted_without_a_secret() -> None:
    """Not even what has no signature."""
    with pytest.raises(SignatureWrong):
        verify([], signed().items(), BODY, now_s=NOW_S)


def test_every_reason_has_a_slug_of_its_own() -> None:
    """By which answers tell them apart."""
    kinds = SignatureRefused.__subclasses__()
    assert len({kind.slug for kind in kinds} | {SignatureRefused.slug}) == 5

"""What is demanded of a request: which are looked at, by which id, with which secret."""

from __future__ import annotations

from typing import Any

import pytest

from dispatcher.receiver import (
    UNSIGNED,
    MemoryStore,
    SignatureMissing,
    SignatureWrong,
    WsgiReceiver,
    sign,
    verify,
)
from dispatcher.receiver.rules import (
    BodyBroken,
    MessageIdInvalid,
    MessageIdMissing,
    Rules,
    message_id_of,
    said_size,
)

NOW_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("paths", "spelling", "is_covered"),
    [
        (["/"], "/", True),
        (["/"], "/a/b", True),
        (["/"], "*", True),
        (["/hooks"], "/hooks", True),
        (["/hooks"], "/hooks/", True),
        (["/hooks"], "//hooks//a", True),
        (["/hooks/"], "/hooks", True),
        (["/hooks"], "/hooksmith", False),
        (["/hooks"], "/a/hooks", False),
        (["/hooks"], "/", False),
        (["/a", "/b"], "/b/c", True),
    ],
)
def test_paths_are_those_and_what_is_below(
    paths: list[str], spelling: str, is_covered: bool
) -> None:
    """However many slashes are in between."""
    assert Rules.of(UNSIGNED, paths=paths).cover(spelling) is is_covered


def test_one_spelling_of_a_path_is_enough() -> None:
    """With or without what the application is mounted below."""
    rules = Rules.of(UNSIGNED, paths=["/hooks"])
    assert rules.cover("/shop/hooks", "/hooks")
    assert not rules.cover("/shop", "/other")


@pytest.mark.parametrize("paths", ["/hooks", [], ["hooks"], [""]])
def test_paths_that_are_none_are_refused(paths: Any) -> None:
    """A slip must not leave a door open."""
    with pytest.raises(ValueError, match="paths"):
        Rules.of(UNSIGNED, paths=paths)


@pytest.mark.parametrize("secrets", [None, [], "", [""], b"", ["a", ""], "whsec_!"])
def test_secrets_that_are_none_are_refused(secrets: Any) -> None:
    """A variable that is not set must not let everybody in: that has a word of its own."""
    with pytest.raises(ValueError, match=r"secret|base64"):
        Rules.of(secrets)
    with pytest.raises(ValueError, match=r"secret|base64"):
        verify(secrets, {}, b"")


def test_one_secret_needs_no_list() -> None:
    """It is not read letter by letter."""
    headers = sign("c2VjcmV0", "m", b"body", now_s=NOW_S)
    assert verify("whsec_c2VjcmV0", headers, b"body", now_s=NOW_S) == "m"
    assert verify([b"new", b"secret"], list(headers.items()), b"body", now_s=NOW_S) == "m"
    with pytest.raises(SignatureWrong):
        verify("bmV3", headers, b"body", now_s=NOW_S)


def test_signature_is_of_this_moment_unless_said() -> None:
    """By the clock of the machine."""
    assert verify("secret", sign("secret", "m", b""), b"") == "m"


def test_body_that_is_text_is_refused() -> None:
    """What was parsed and written again is not what was signed."""
    with pytest.raises(TypeError, match="bytes"):
        verify("secret", {}, "{}")  # type: ignore[arg-type]


def test_signed_id_counts_where_requests_are_signed() -> None:
    """Else a message that somebody has seen would be new again under another header."""
    headers = [*sign("secret", "m", b"", now_s=NOW_S).items(), ("X-Dispatcher-Message-Id", "other")]
    assert Rules.of("secret").check(headers, b"", NOW_S) == "m"
    with pytest.raises(SignatureMissing):
        Rules.of("secret").check(headers[3:], b"", NOW_S)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Dispatcher-Message-Id", "a"), ("Webhook-Id", "b")], "a"),
        ([("webhook-id", "b"), ("x-dispatcher-message-id", " a\t")], "a"),
        ([("webhook-id", "b")], "b"),
    ],
)
def test_id_is_the_dispatchers_where_requests_are_not_signed(
    headers: list[tuple[str, str]], expected: str
) -> None:
    """Else the sender's."""
    assert message_id_of(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [("webhook-id", "")],
        [("webhook-id", "a b")],
        [("webhook-id", "é")],
        [("webhook-id", "x" * 256)],
        [("webhook-id", "a"), ("Webhook-Id", "a")],
        [("x-dispatcher-message-id", ""), ("webhook-id", "a")],
    ],
)
def test_id_that_cannot_be_kept_is_refused(headers: list[tuple[str, str]]) -> None:
    """It is not guessed which one is meant."""
    with pytest.raises(MessageIdInvalid, match=r"-id: expected once"):
        message_id_of(headers)


def test_id_that_is_not_there_is_refused_where_it_is_needed() -> None:
    """Duplicates could not be told."""
    with pytest.raises(MessageIdMissing, match="through a dispatcher"):
        Rules.of(UNSIGNED).check([], b"", NOW_S)
    assert Rules.of(UNSIGNED, needs_id=False).check([], b"", NOW_S) is None


def test_size_is_what_is_said() -> None:
    """Once, or twice the same."""
    assert said_size([("Content-Length", " 12 ")]) == 12
    assert said_size([("content-length", "1"), ("Content-Length", "1")]) == 1
    assert said_size([("Content-Length", ""), ("a", "1")]) is None


@pytest.mark.parametrize("values", [["-1"], ["1_0"], ["٣"], ["1", "2"], ["9" * 19], ["", "1"]])
def test_size_that_is_no_number_is_refused(values: list[str]) -> None:
    """Nothing is read."""
    with pytest.raises(BodyBroken, match="Content-Length"):
        said_size([("content-length", value) for value in values])


def test_lease_of_a_receiver_is_a_time() -> None:
    """Told where it is made."""
    with pytest.raises(ValueError, match="lease"):
        WsgiReceiver(lambda *_: [], secrets=UNSIGNED, store=MemoryStore(), lease_s=-1)

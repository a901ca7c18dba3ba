"""Which rule a message has, against a naive model; and reading what nobody would write."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules

labels = st.sampled_from(["a", "b", "ab", "example", "com"])
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
schemes = st.sampled_from(["http", "https"])
ports = st.sampled_from([80, 443, 8080])
segments = st.sampled_from(["", "v1", "v12", "v", "x"])
paths = st.lists(segments, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))


@st.composite
def written(draw: st.DrawFn) -> str:
    """A match as people write it."""
    scheme = draw(st.sampled_from(["", "http://", "https://", "HTTPS://"]))
    host = draw(
        st.one_of(
            hosts, hosts.map(lambda host: f"*.{host}"), st.just("*"), hosts.map(str.upper), hosts
        )
    )
    port = draw(st.sampled_from(["", ":80", ":443", ":8080"]))
    return f"{scheme}{host}{port}{draw(paths)}"


def is_meant(text: str, destination: Destination, target: str) -> bool:
    """The words of `core.rules.match`, one after the other."""
    scheme, separator, rest = text.lower().rpartition("://")
    if separator and scheme != destination.scheme:
        return False
    authority, slash, prefix = rest.partition("/")
    host, colon, port = authority.partition(":")
    if colon and int(port) != destination.port:
        return False
    asked, meant = destination.host.split("."), host.split(".")
    if meant[0] != "*":
        is_host = asked == meant
    else:
        is_host = len(asked) >= len(meant) and (
            len(meant) == 1 or asked[-len(meant) + 1 :] == meant[1:]
        )
    whole = f"{slash}{prefix}".rstrip("/")
    path = target.partition("?")[0]
    return is_host and (path == whole or path.startswith(f"{whole}/") or not whole)


destinations = st.builds(Destination, schemes, hosts, ports)
targets = st.builds(
    "/{}{}".format, paths.map(lambda path: path.removeprefix("/")), st.sampled_from(["", "?v1/x"])
)


@given(written(), destinations, targets)
def test_a_match_means_what_its_parts_say(text: str, destination: Destination, target: str) -> None:
    """Scheme, labels of the host, port and path, each compared on its own."""
    match = Match.parse(text)
    found = match.is_for(destination) and match.covers(target.encode())
    assert found == is_meant(text, destination, target)


@given(written())
def test_a_match_is_read_back_from_what_is_shown(text: str) -> None:
    """`config check` shows a match that means the same."""
    match = Match.parse(text)
    assert Match.parse(str(match)) == match


@given(st.lists(written(), max_size=6), st.lists(st.tuples(destinations, targets), max_size=8))
def test_the_first_rule_that_matches_holds(
    texts: list[str], messages: list[tuple[Destination, str]]
) -> None:
    """Also when it was found before, for another message of the same destination."""
    rules = Rules([Rule(Match.parse(text), retries=n) for n, text in enumerate(texts)])
    for destination, target in messages * 2:
        meant = [n for n, text in enumerate(texts) if is_meant(text, destination, target)]
        head = f"POST {target} HTTP/1.1\r\n".encode()
        message = Message(destination, head, b"", timeout_ms=0, accepted_at=0)
        rule = rules.of_message(message)
        assert (None if rule is None else rule.retries) == (meant[0] if meant else None)
        assert rules.of(destination, target.encode()) is rule


@given(st.text() | st.text(alphabet="*.:/[]@?#htps1a%", max_size=20))
def test_a_match_is_read_or_refused_in_words(text: str) -> None:
    """Whatever is written: a match that can be shown, or a sentence."""
    with suppress(ValueError):
        match = Match.parse(text)
        assert Match.parse(str(match)) == match


def test_the_rules_of_many_destinations_are_not_kept_for_ever() -> None:
    """Callers choose destinations; a million of them cost no memory for rules."""
    rules = Rules([Rule(Match.parse("*.example.com"), retries=1)])
    for n in range(25_000):
        assert rules.of(Destination("http", f"h{n}.example.com", 80), b"/") is rules.rules[0]
    assert len(rules._kept) <= 10_000


def test_garbage_of_bytes_is_no_match() -> None:
    """An unpaired surrogate is refused like any other strange character."""
    for text in ("\ud800", "a\ud800", "a/\ud800"):
        with pytest.raises(ValueError, match="it"):
            Match.parse(text)


@given(written(), written(), destinations, targets)
def test_a_match_includes_another_only_if_it_is_for_all_of_that(
    text: str, other: str, destination: Destination, target: str
) -> None:
    """A rule is told to be hidden by one before it only where it is."""
    wide, narrow = Match.parse(text), Match.parse(other)
    if wide.includes(narrow) and narrow.is_for(destination) and narrow.covers(target.encode()):
        assert wide.is_for(destination)
        assert wide.covers(target.encode())


@pytest.mark.parametrize(
    ("wide", "narrow", "is_hidden"),
    [
        ("*", "http://a.example:80/v1", True),
        ("a.example", "a.example", True),
        ("a.example/v1", "https://a.example/v1/x", True),
        ("*.example", "*.a.example", True),
        ("*.example", "a.b.example:80", True),
        ("*.example", "example", False),
        ("*.a.example", "*.example", False),
        ("https://a.example", "a.example", False),
        ("a.example:80", "a.example", False),
        ("a.example/v1", "a.example/v12", False),
        ("a.example/v1", "a.example", False),
        ("b.example", "a.example", False),
    ],
)
def test_rule_that_an_earlier_one_hides_is_found(
    wide: str, narrow: str, *, is_hidden: bool
) -> None:
    """Together with the one that hides it."""
    rules = Rules([Rule(Match.parse(wide)), Rule(Match.parse(narrow))])
    assert rules.unreached() == ([(rules.rules[1], rules.rules[0])] if is_hidden else [])

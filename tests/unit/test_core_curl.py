"""Requests as commands of curl: what a shell makes of the words, and what curl is told to leave."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.core.curl import INLINE_BYTES, Repeated, command, is_inline, quoted

BASH = shutil.which("bash")


def of(
    method: str = "GET",
    target: str = "/",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes | None = b"",
    *,
    url: str = "http://example.com",
    size_bytes: int = 0,
) -> list[str]:
    """The lines of a command."""
    lines = (("Host", "example.com"), ("Accept", "*/*"), ("User-Agent", "app"), *headers)
    size = size_bytes if body is None else len(body)
    return command(Repeated(method, url, target, lines, size, body, "7.bin")).split(" \\\n  ")


@pytest.mark.skipif(BASH is None, reason="there is no bash")
@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\0", b"")), max_size=20))
def test_shell_makes_the_same_bytes_of_quoted_words(words: list[bytes]) -> None:
    """Whatever is in them: quotes, dollars, line ends, bytes that are no UTF-8."""
    script = "printf '%s\\0' " + " ".join(map(quoted, words))
    assert BASH is not None
    ran = subprocess.run([BASH, "-c", script], capture_output=True, check=True)
    assert ran.stdout.split(b"\0")[:-1] == (words or [b""])


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        (b"plain/word-1.2:3", "plain/word-1.2:3"),
        (b"", "''"),
        (b"two words; $(rm -rf /) `x` !!", "'two words; $(rm -rf /) `x` !!'"),
        (b"it's", "'it'\\''s'"),
        ("naïve".encode(), "'naïve'"),
        (b"J\xfcrgen", "$'J\\xfcrgen'"),
        (b"\x1b[2J it's !", "$'\\x1b[2J it\\'s \\x21'"),
        ("\u202eabc".encode(), "$'\\xe2\\x80\\xaeabc'"),
    ],
)
def test_word_is_quoted_as_little_as_it_needs(word: bytes, shown: str) -> None:
    """`$'…'` only where single quotes would pass on what a terminal acts on."""
    assert quoted(word) == shown


def test_command_repeats_method_target_headers_and_body() -> None:
    """Host and length are made by curl from the rest."""
    headers = (("Content-Length", "7"), ("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2"))
    assert of("POST", "/hooks?a=1&b", headers, b"it's me") == [
        "curl -i",
        "--request POST",
        "'http://example.com/hooks?a=1&b'",
        "-H 'Accept: */*'",
        "-H 'User-Agent: app'",
        "-H 'Content-Type: text/plain'",
        "-H 'X-A: 1'",
        "-H 'X-A: 2'",
        "--data-raw 'it'\\''s me'",
    ]


def test_what_curl_adds_is_taken_away() -> None:
    """A type of the body, and the question before a long one; a header without a value stays."""
    words = of("PUT", "/", (("X-Empty", ""),), b"a" * 2000)
    assert "-H 'X-Empty;'" in words
    assert {"-H 'Content-Type:'", "-H 'Expect:'"} <= set(words)
    bare = command(Repeated("GET", "http://example.com", "/", (), 0, b"", "7.bin"))
    assert "-H 'Accept:'" in bare
    assert "-H 'User-Agent:'" in bare


@pytest.mark.parametrize(
    "target", ["/a/../b", "/%2e%2e/x", "/a#b", "/x?", "/a[1-3]{b}", "*", "/a|b", '/"q"', "/a/."]
)
def test_target_that_curl_would_change_is_sent_as_it_is(target: str) -> None:
    """It is not a part of the address then."""
    words = of("OPTIONS", target)
    assert f"--request-target {quoted(target.encode())}" in words
    assert "--globoff http://example.com/" in words


def test_large_or_binary_body_is_read_from_a_file() -> None:
    """A line of a terminal has an end."""
    assert is_inline("Grüße\r\n\t".encode())
    assert not is_inline(b"a" * (INLINE_BYTES + 1))
    assert not is_inline(b"\x00")
    assert not is_inline(b"\xff")
    assert of("POST", body=None, size_bytes=9000)[-1] == "--data-binary @7.bin"


def test_methods_without_a_body_are_asked_for_as_curl_does_it() -> None:
    """`--request HEAD` alone would wait for a body that never comes. A length of 0 is one."""
    assert of("HEAD")[1] == "--head"
    assert not any("--request" in word for word in of("GET"))
    assert of("POST", headers=(("Content-Length", "0"),))[-1] == "--data-raw ''"
    assert "--http1.1" in of(url="https://example.com")[0]

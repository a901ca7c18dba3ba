"""The origin header's value: what it may be, and what is made of it."""

from __future__ import annotations

import pytest

from dispatcher.core.destination import Destination, Origin


@pytest.mark.parametrize(
    ("value", "destination", "base_path"),
    [
        (b"example.com", Destination("http", "example.com", 80), b""),
        (b"example.com:8080", Destination("http", "example.com", 8080), b""),
        (b"http://example.com", Destination("http", "example.com", 80), b""),
        (b"https://example.com", Destination("https", "example.com", 443), b""),
        (b"HTTPS://Example.COM:443", Destination("https", "example.com", 443), b""),
        (b"http://example.com:443", Destination("http", "example.com", 443), b""),
        (b"[::1]:9000", Destination("http", "::1", 9000), b""),
        (b"[2001:DB8:0:0::1]", Destination("http", "2001:db8::1", 80), b""),
        (b"https://[::ffff:10.0.0.1]:1", Destination("https", "::ffff:10.0.0.1", 1), b""),
        (b"10.0.0.1:65535", Destination("http", "10.0.0.1", 65535), b""),
        (b"under_score-host", Destination("http", "under_score-host", 80), b""),
        (b"example.com.", Destination("http", "example.com.", 80), b""),
        (b"example.com/base", Destination("http", "example.com", 80), b"/base"),
        (b"example.com:81/base/", Destination("http", "example.com", 81), b"/base"),
        (b"example.com/", Destination("http", "example.com", 80), b""),
        (b"example.com/a%2Fb//c/@d:e", Destination("http", "example.com", 80), b"/a%2Fb//c/@d:e"),
        (b"example.com/http://user@x", Destination("http", "example.com", 80), b"/http://user@x"),
        (b"https:8080", Destination("http", "https", 8080), b""),
    ],
)
def test_origin_is_read_in_every_spelling(
    value: bytes, destination: Destination, base_path: bytes
) -> None:
    """Host, port, IPv6, scheme and base path, each optional; the base path keeps its bytes."""
    origin = Origin.parse(value)
    if destination.host == "::ffff:10.0.0.1":
        assert origin.destination.host in {"::ffff:10.0.0.1", "::ffff:a00:1"}
    else:
        assert origin.destination == destination
    assert origin.base_path == base_path


@pytest.mark.parametrize(
    ("value", "because"),
    [
        (b"", "empty"),
        (b"user@example.com", "user information"),
        (b"user:secret@example.com:80", "user information"),
        (b"http://user@example.com/x", "user information"),
        (b"example.com?x=1", "query"),
        (b"example.com/a?x=1", "query"),
        (b"example.com#f", "fragment"),
        (b"example.com/#", "fragment"),
        (b"example.com:0", "port"),
        (b"example.com:65536", "port"),
        (b"example.com:99999", "port"),
        (b"example.com:", "must be host"),
        (b"example.com:x", "must be host"),
        (b"example.com:+80", "must be host"),
        (b"example.com:123456", "must be host"),
        (b"ftp://example.com", "scheme"),
        (b"://example.com", "must be host"),
        (b"http://", "must be host"),
        (b"http:///path", "must be host"),
        (b"/path", "must be host"),
        (b"::1", "must be host"),
        (b"[::1", "must be host"),
        (b"[]", "must be host"),
        (b"[::zz]", "must be host"),
        (b"[1:2:3]", "IPv6"),
        (b"[fe80::1%25eth0]", "must be host"),
        (b"exa mple.com", "must be host"),
        (b"example.com,other.com", "must be host"),
        (b"example.com/a b", "base path"),
        (b"example.com/\xff", "base path"),
        (b"example.com/\x00", "base path"),
        (b"ex\xc3\xa4mple.com", "must be host"),
        (b"exam..ple", "host name"),
        (b".example", "host name"),
        (b".", "host name"),
        (b"a" * 64 + b".com", "host name"),
        (b"a." * 127, "host name"),
    ],
)
def test_origin_is_refused_when_it_names_no_destination(value: bytes, because: str) -> None:
    """Whatever is no plain destination is refused with a sentence that says why."""
    with pytest.raises(ValueError, match=because):
        Origin.parse(value)


@pytest.mark.parametrize(
    ("value", "host_line"),
    [
        (b"Example.com:80", b"Host: example.com\r\n"),
        (b"example.com:443", b"Host: example.com:443\r\n"),
        (b"https://example.com:443", b"Host: example.com\r\n"),
        (b"https://example.com:80", b"Host: example.com:80\r\n"),
        (b"[::1]:8080", b"Host: [::1]:8080\r\n"),
    ],
)
def test_host_line_leaves_the_default_port_out(value: bytes, host_line: bytes) -> None:
    """`Host` is the destination's authority, with the port only where it is not the scheme's."""
    assert Origin.parse(value).host_line == host_line


def test_destination_is_one_key_however_it_was_spelled() -> None:
    """Lanes are found by destination: equal ones are equal in hash and key too."""
    one = Origin.parse(b"HTTP://Example.com:80/base").destination
    other = Origin.parse(b"example.COM").destination
    assert (one, hash(one), one.key) == (other, hash(other), b"http://example.com")
    assert one != Origin.parse(b"https://example.com:80").destination


def test_destination_is_shown_as_a_url() -> None:
    """`scheme://host[:port]`, the default port left out."""
    assert str(Destination("https", "::1", 443)) == "https://[::1]"
    assert str(Destination("http", "a", 81)) == "http://a:81"

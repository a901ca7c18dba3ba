"""The egress rules, one address at a time."""

from __future__ import annotations

import ipaddress

import pytest

from dispatcher.core.egress import Address, EgressPolicy


def check(
    policy: EgressPolicy, address: str, *, host: str = "name.test", port: int = 80
) -> str | None:
    """Check one address, on a machine that has 192.0.2.7 besides loopback."""

    def is_local(candidate: Address) -> bool:
        return candidate.is_loopback or str(candidate) == "192.0.2.7"

    return policy.check(host, port, ipaddress.ip_address(address), is_local=is_local)


ANY = EgressPolicy()
PUBLIC = EgressPolicy.parse("public", [], [])
EVERYTHING_ALLOWED = EgressPolicy.parse("any", ["*", "0.0.0.0/0", "::/0"], [])

NEVER = [
    ("0.0.0.0", "unspecified"),
    ("0.1.2.3", "unspecified"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "link-local"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("febf:ffff::1", "link-local"),
    ("ff02::1", "multicast"),
    ("::ffff:169.254.169.254", "link-local"),
    ("::ffff:0.0.0.0", "unspecified"),
    ("::ffff:224.0.0.1", "multicast"),
    ("::ffff:255.255.255.255", "broadcast"),
    ("::169.254.169.254", "link-local"),
    ("64:ff9b::169.254.169.254", "link-local"),
    ("64:ff9b::0.0.0.0", "unspecified"),
    ("64:ff9b::224.0.0.251", "multicast"),
    ("2002:a9fe:a9fe::", "link-local"),
    ("2002:e000:1:ffff::1", "multicast"),
    ("2002::1", "unspecified"),
    ("100.100.100.200", "cloud metadata"),
    ("168.63.129.16", "cloud metadata"),
    ("192.0.0.192", "cloud metadata"),
    ("fd00:ec2::254", "cloud metadata"),
    ("fd00:ec2::23", "cloud metadata"),
    ("fd20:ce::254", "cloud metadata"),
    ("fd00:42::42", "cloud metadata"),
    ("fd00:a9fe:a9fe::1", "cloud metadata"),
    ("::ffff:168.63.129.16", "cloud metadata"),
    ("64:ff9b::100.100.100.200", "cloud metadata"),
    ("2002:a83f:8110::1", "cloud metadata"),
    ("::ffff:0:169.254.169.254", "link-local"),
    ("::ffff:0:192.0.0.192", "cloud metadata"),
    ("64:ff9b:1::169.254.169.254", "link-local"),
    ("64:ff9b:1:abcd::169.254.169.254", "link-local"),
    ("64:ff9b:1:a9fe:a9:fe00::", "link-local"),
    ("64:ff9b:1:a9fe:a9:fe00:1:2", "link-local"),
    ("64:ff9b:1:12a9:fe:a9fe::", "link-local"),
    ("64:ff9b:1:1234:a9:fea9:fe00::", "link-local"),
    ("64:ff9b:1:a83f:81:1000::", "cloud metadata"),
    ("64:ff9b:1::", "unspecified"),
    ("2001:0:a9fe:a9fe::1", "link-local"),
    ("2001:0:808:808:0:1234:5601:5601", "link-local"),
    ("2001:0:808:808:0:1234:57c0:7eef", "cloud metadata"),
    ("2001:db8::5efe:169.254.169.254", "link-local"),
    ("2606:4700::200:5efe:100.100.100.200", "cloud metadata"),
]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "::1",
    "fc00::1",
    "fd00:ec3::254",
    "fd20:cf::254",
    "fec0::1",
    "4000::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "192.88.99.1",
    "2001::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:192.168.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "2002:0a00:0001::1",
    "2002:7f00:0001::1",
    "64:ff9b:1::8.8.8.8",
    "::ffff:0:8.8.8.8",
    "2001:0:808:808:0:1234:f7f7:f7f7",
    "2606:4700::5efe:10.0.0.1",
    "100.100.100.199",
    "192.0.0.193",
]
PUBLICLY_REACHABLE = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:1.1.1.1",
    "64:ff9b::1.1.1.1",
    "168.63.129.15",
    "2606:4700::5efe:1.1.1.1",
]


@pytest.mark.parametrize(("address", "kind"), NEVER)
@pytest.mark.parametrize("policy", [ANY, PUBLIC, EVERYTHING_ALLOWED])
def test_forbidden_address_is_denied_by_every_policy(
    policy: EgressPolicy, address: str, kind: str
) -> None:
    """Also when it is allowed by name, and also inside an IPv6 address."""
    reason = check(policy, address)
    assert reason == f"{ipaddress.ip_address(address)} is {kind}"


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_private_address_is_for_any_only(address: str) -> None:
    """`any` connects to the machines next door, `public` does not."""
    assert check(ANY, address) is None
    assert check(PUBLIC, address) == f"{ipaddress.ip_address(address)} is not a public address"
    assert check(EVERYTHING_ALLOWED, address) is None


@pytest.mark.parametrize("address", PUBLICLY_REACHABLE)
def test_public_address_is_allowed_by_both_modes(address: str) -> None:
    """The neighbours of the special ranges are ordinary addresses."""
    assert check(ANY, address) is None
    assert check(PUBLIC, address) is None


@pytest.mark.parametrize(
    ("allow", "host", "address", "allowed"),
    [
        (["intern.test"], "intern.test", "10.0.0.1", True),
        (["intern.test"], "INTERN.test.", "10.0.0.1", True),
        (["Intern.Test."], "intern.test", "10.0.0.1", True),
        (["intern.test"], "a.intern.test", "10.0.0.1", False),
        (["intern.test"], "xintern.test", "10.0.0.1", False),
        (["*.intern.test"], "a.intern.test", "10.0.0.1", True),
        (["*.intern.test"], "b.a.intern.test", "10.0.0.1", True),
        (["*.intern.test"], "intern.test", "10.0.0.1", False),
        (["*.intern.test"], "xintern.test", "10.0.0.1", False),
        (["*"], "whatever", "10.0.0.1", True),
        (["10.0.0.0/8"], "whatever", "10.255.0.1", True),
        (["10.0.0.0/8"], "whatever", "11.0.0.1", True),
        (["10.0.0.0/8"], "whatever", "192.168.0.1", False),
        (["10.0.0.7"], "10.0.0.7", "10.0.0.7", True),
        (["10.0.0.7"], "whatever", "10.0.0.8", False),
        (["10.0.0.0/8"], "whatever", "::ffff:10.0.0.1", True),
        (["10.0.0.0/8"], "whatever", "64:ff9b::10.0.0.1", False),
        (["fd00::/8"], "whatever", "fd12::1", True),
        (["::1"], "whatever", "::1", True),
        (["a.test", "10.0.0.0/8"], "b.test", "10.0.0.1", True),
        ([], "whatever", "10.0.0.1", False),
    ],
)
def test_allow_list_opens_what_public_mode_closes(
    allow: list[str], host: str, address: str, allowed: bool
) -> None:
    """By host name or by address; a public address needs no entry."""
    reason = check(EgressPolicy.parse("public", allow, []), address, host=host)
    assert (reason is None) is allowed


@pytest.mark.parametrize(
    ("deny", "host", "address"),
    [
        (["evil.test"], "evil.test", "1.1.1.1"),
        (["*.evil.test"], "a.evil.test", "1.1.1.1"),
        (["*"], "whatever", "1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "::ffff:1.1.1.1"),
        (["::ffff:1.1.1.0/120"], "whatever", "1.1.1.1"),
        (["::ffff:1.1.1.1"], "whatever", "::ffff:1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "64:ff9b::1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "2002:101:101::1"),
        (["64:ff9b::/96"], "whatever", "64:ff9b::1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "64:ff9b:1:7::1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "64:ff9b:1:101:1:100::"),
        (["1.1.1.0/24"], "whatever", "::ffff:0:1.1.1.1"),
        (["1.1.1.0/24"], "whatever", "2001:0:808:808::fefe:fefe"),
        (["2600::/8"], "whatever", "2606:4700:4700::1111"),
    ],
)
def test_deny_list_closes_what_the_mode_opens(deny: list[str], host: str, address: str) -> None:
    """Also for an IPv4 network written as an IPv6 address."""
    assert check(EgressPolicy.parse("any", [], deny), address, host=host) == (
        f"{ipaddress.ip_address(address)} is in EGRESS_DENY"
    )


def test_allow_list_comes_before_deny_list() -> None:
    """So that a few hosts can be let through where everything is denied."""
    policy = EgressPolicy.parse("any", ["good.test", "10.1.0.0/16"], ["*"])
    assert check(policy, "1.1.1.1", host="good.test") is None
    assert check(policy, "10.1.2.3") is None
    assert check(policy, "1.1.1.1") is not None


@pytest.mark.parametrize(
    ("listener", "address", "port", "denied"),
    [
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("127.0.0.1", "::ffff:127.0.0.1", 80, True),
        ("127.0.0.1", "127.0.0.1", 81, False),
        ("127.0.0.1", "127.0.0.2", 80, False),
        ("192.0.2.7", "192.0.2.7", 80, True),
        ("0.0.0.0", "127.0.0.1", 80, True),
        ("0.0.0.0", "127.9.9.9", 80, True),
        ("0.0.0.0", "192.0.2.7", 80, True),
        ("0.0.0.0", "192.0.2.8", 80, False),
        ("0.0.0.0", "192.0.2.7", 81, False),
        ("0.0.0.0", "::1", 80, False),
        ("0.0.0.0", "::ffff:192.0.2.7", 80, True),
        ("0.0.0.0", "64:ff9b::192.0.2.7", 80, True),
        ("::", "192.0.2.7", 80, True),
        ("::", "::1", 80, True),
        ("::", "64:ff9b::192.0.2.7", 80, True),
        ("::", "64:ff9b:1::192.0.2.7", 80, True),
        ("::", "::ffff:0:192.0.2.7", 80, True),
        ("::1", "::1", 80, True),
        ("::1", "127.0.0.1", 80, False),
    ],
)
def test_own_listener_is_denied(listener: str, address: str, port: int, denied: bool) -> None:
    """By address and port; a listener on every address is any address of this machine, but not of
    IPv6 where it is one of IPv4: another service may listen there."""
    own = frozenset({(ipaddress.ip_address(listener), 80)})
    policy = EgressPolicy("any", EVERYTHING_ALLOWED.allow, own_listeners=own)
    reason = check(policy, address, port=port)
    assert (reason is not None) is denied
    assert reason is None or reason.endswith("is a listener of the dispatcher itself")


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        " ",
        "http://a.test",
        "a.test:80",
        "[::1]",
        "a.*.test",
        "*a.test",
        "**",
        "*.",
        "*.*",
        ".a.test",
        "a..test",
        "a test",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "fe80::1/10",
        "::1/129",
        "a.test/24",
        "300.1.1.1/8",
        "10.0.0.300",
        "10.0.0",
        "010.0.0.1",
        "1.2.3.4.5",
        "*.10",
        "2130706433",
        "0x7f.1",
        "127.0.0.0x1",
        "10.0.0.1.",
        "user@a.test",
        "bücher.test",
    ],
)
def test_bad_pattern_is_refused_by_name(pattern: str) -> None:
    """The sentence names it, for the line a person reads at start."""
    with pytest.raises(ValueError, match=r".") as caught:
        EgressPolicy.parse("any", ["fine.test", pattern], [])
    assert repr(pattern) in str(caught.value)
    with pytest.raises(ValueError, match=r"."):
        EgressPolicy.parse("any", [], [pattern])


def test_network_with_host_bits_says_which_network_was_meant() -> None:
    """A slip in a deny list must not go unnoticed."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8 is the network"):
        EgressPolicy.parse("any", [], ["10.1.2.3/8"])


def test_unknown_mode_is_refused() -> None:
    """There are two."""
    with pytest.raises(ValueError, match="any or public"):
        EgressPolicy.parse("private", [], [])

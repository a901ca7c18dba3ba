"""Which addresses messages may be sent to, as docs/configuration.md has it. Pure.

Every address a host name resolves to is checked, and only an address that passed is connected to,
so a name that changes its mind between the check and the connection (DNS rebinding) gains nothing.

The order of the rules; the first that applies decides:

1. never, whatever the lists say: link-local, unspecified, multicast and broadcast addresses, where
   clouds serve credentials (metadata), the server's own listeners, and IPv6 addresses that carry
   one of those IPv4 addresses inside (`_carried`);
2. `EGRESS_ALLOW` matches: allowed;
3. `EGRESS_DENY` matches: denied;
4. `EGRESS=public`: denied unless the address is globally reachable (IANA's special-purpose
   registries).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NEVER: tuple[tuple[str, Network], ...] = (
    ("unspecified", IPv4Network("0.0.0.0/8")),
    ("link-local", IPv4Network("169.254.0.0/16")),
    ("multicast", IPv4Network("224.0.0.0/4")),
    ("broadcast", IPv4Network("255.255.255.255/32")),
    ("unspecified", IPv6Network("::/128")),
    ("link-local", IPv6Network("fe80::/10")),
    ("multicast", IPv6Network("ff00::/8")),
    # Besides link-local 169.254.169.254, which most clouds use:
    ("cloud metadata", IPv4Network("100.100.100.200/32")),  # Alibaba
    ("cloud metadata", IPv4Network("168.63.129.16/32")),  # Azure, a public address
    ("cloud metadata", IPv4Network("192.0.0.192/32")),  # Oracle
    ("cloud metadata", IPv6Network("fd00:ec2::/32")),  # AWS: instances at ::254, pods at ::23
    ("cloud metadata", IPv6Network("fd20:ce::/64")),  # Google
    ("cloud metadata", IPv6Network("fd00:42::42/128")),  # Scaleway
    ("cloud metadata", IPv6Network("fd00:a9fe:a9fe::/64")),  # Akamai
)
_ZERO = IPv4Network("0.0.0.0/8")
_LAST_32_BITS: tuple[IPv6Network, ...] = (
    IPv6Network("::/96"),  # IPv4-compatible, RFC 4291 2.5.5.1
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, RFC 2765 2.1
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052 2.1
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 6.1, bits 64 to 95
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# What IANA's registries of special purposes call not global. Not `ipaddress.is_global`: what
# that says of some of these changes between patch releases of Python.
_PRIVATE: tuple[Network, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_LIKE_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


@dataclass(frozen=True, slots=True)
class Patterns:
    """One list of host patterns and networks: `example.com`, `*.example.com`, `*`, `10.0.0.0/8`.

    `hosts` are exact names, `suffixes` start with a dot and match every name below them (not the
    name itself), `everything` is the pattern `*`.
    """

    hosts: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    everything: bool = False

    @staticmethod
    def parse(items: Sequence[str]) -> Patterns:
        """Read one list.

        Raises:
            ValueError: with a sentence that names the item and what is wrong with it.
        """
        hosts: set[str] = set()
        suffixes: list[str] = []
        networks: list[Network] = []
        for item in items:
            pattern = item.strip().lower()
            if network := _network(pattern):
                networks.append(network)
            elif pattern == "*":
                continue
            elif not _HOST.fullmatch(pattern):
                raise ValueError(
                    f"{item!r} is not a host pattern (example.com, *.example.com, *), an address"
                    f" or a network (10.0.0.0/8); ports, schemes and brackets do not belong here"
                )
            elif _LIKE_A_NUMBER.fullmatch(pattern):
                # No name ends in a number: as a host pattern it would silently match nothing.
                raise ValueError(
                    f"{item!r} looks like an address and is none: expected four numbers of 0 to 255"
                    f" (10.0.0.1), a network (10.0.0.0/8) or a host pattern (example.com)"
                )
            elif pattern.startswith("*."):
                suffixes.append(pattern[1:].removesuffix("."))
            else:
                hosts.add(pattern.removesuffix("."))
        everything = any(item.strip() == "*" for item in items)
        return Patterns(frozenset(hosts), tuple(suffixes), tuple(networks), everything)

    def match_name(self, host: str) -> bool:
        """Say whether the host's name is in the list, whatever its addresses are."""
        return self.everything or host in self.hosts or host.endswith(self.suffixes)

    def match(self, host: str, addresses: Sequence[Address]) -> bool:
        """Say whether the host's name, or any of these forms of its address, is in the list."""
        if self.match_name(host):
            return True
        return any(address in network for network in self.networks for address in addresses)


def _loopback(address: Address) -> bool:
    return address.is_loopback


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """The rules in force. `own_listeners` are the addresses the server itself is bound to."""

    mode: Literal["any", "public"] = "any"
    allow: Patterns = Patterns()
    deny: Patterns = Patterns()
    own_listeners: frozenset[tuple[Address, int]] = frozenset()

    @staticmethod
    def parse(mode: str, allow: Sequence[str], deny: Sequence[str]) -> EgressPolicy:
        """Read the three settings `EGRESS`, `EGRESS_ALLOW` and `EGRESS_DENY`.

        Raises:
            ValueError: with a sentence that names what cannot be read and what is expected.
        """
        if mode not in ("any", "public"):
            raise ValueError(f"{mode!r} is not an egress mode: any or public")
        return EgressPolicy(
            "any" if mode == "any" else "public", Patterns.parse(allow), Patterns.parse(deny)
        )

    def check_name(self, host: str) -> str | None:
        """Say why `host` may not be connected to whatever its addresses are, so that it need not be
        looked up; None: that depends on the address."""
        name = host.lower().removesuffix(".")
        if self.deny.match_name(name) and not (self.allow.networks or self.allow.match_name(name)):
            return f"{host} is in EGRESS_DENY"
        return None

    def check(
        self,
        host: str,
        port: int,
        address: Address,
        *,
        is_local: Callable[[Address], bool] = _loopback,
    ) -> str | None:
        """Say why `address`, found for `host`, may not be connected to at `port`; None: it may.

        `is_local` says whether an address belongs to this machine. It is only asked when one of the
        own listeners is bound to every address and has the same port.
        """
        plain = _unmapped(address)
        forms = (plain, *_carried(plain))
        if reason := self._never(port, forms, is_local):
            return f"{address} {reason}"
        name = host.lower().removesuffix(".")
        if self.allow.match(name, (plain,)):
            return None
        if self.deny.match(name, forms):
            return f"{address} is in EGRESS_DENY"
        if self.mode == "public" and not all(_public(form) for form in forms):
            return f"{address} is not a public address"
        return None

    def _never(
        self, port: int, forms: Sequence[Address], is_local: Callable[[Address], bool]
    ) -> str | None:
        for form in forms:
            for name, network in _NEVER:
                if form in network:
                    return f"is {name}"
        for listener, listener_port in self.own_listeners:
            if listener_port != port:
                continue
            # A socket of IPv6 may take connections of IPv4 too, one of IPv4 takes no others.
            reached = [form for form in forms if listener.version == 6 or form.version == 4]
            if listener in forms or (listener.is_unspecified and any(map(is_local, reached))):
                return "is a listener of the dispatcher itself"
        return None


def _network(pattern: str) -> Network | None:
    """Read an address or a network; None when the pattern is neither. What is IPv4 written as IPv6
    (`::ffff:10.0.0.0/104`) becomes IPv4, as the addresses do that it is compared with.

    Raises:
        ValueError: when it is a network with bits set beyond its prefix, most often a slip.
    """
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return None
    if "/" in pattern and ipaddress.ip_address(pattern.split("/")[0]) != network.network_address:
        raise ValueError(f"{pattern!r} has bits set beyond its prefix; {network} is the network")
    if network.version == 6 and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv4-mapped one stands for: the kernel connects to that."""
    return address if address.version == 4 else address.ipv4_mapped or address


def _carried(address: Address) -> tuple[Address, ...]:
    """The IPv4 addresses that translators, relays and tunnels on the way would make of an IPv6
    address: IPv4-compatible and -translated, NAT64, 6to4, Teredo (its server and its client),
    ISATAP. What prefix of its own a network translates nobody here can know."""
    if address.version == 4 or int(address) <= 1:
        return ()
    found: list[Address] = []
    last = IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _LAST_32_BITS):
        found.append(last)
    elif address in _LOCAL_NAT64:
        found += _local_nat64(address.packed)
    elif (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        found.append(last)
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found += [one for one in address.teredo if one not in _ZERO]
    return tuple(found)


def _local_nat64(packed: bytes) -> Sequence[Address]:
    """Where RFC 6052 2.2 puts the IPv4 address behind a prefix of 48, 56, 64 or 96 bits: which of
    them a network took is its own affair, so all are looked at. 0.x.y.z says that it is not there,
    unless it is so everywhere."""
    places = (
        packed[6:8] + packed[9:11],
        packed[7:8] + packed[9:12],
        packed[9:13],
        packed[12:],
    )
    guesses = [IPv4Address(place) for place in places]
    return [guess for guess in guesses if guess not in _ZERO] or guesses[-1:]


def _public(address: Address) -> bool:
    """Globally reachable. What NAT64 and 6to4 carry is judged by itself."""
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return address in _NAT64
    return not any(address in network for network in _PRIVATE)

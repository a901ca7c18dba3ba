"""Whether an address is this machine's: what a listener on every address has to be asked about."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from typing import Final

from dispatcher.core.egress import Address

_NO_ROUTE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
)
_NO_NETLINK: Final = frozenset(
    {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES}
)
_PORT: Final = 9  # any: nothing is sent

# linux/netlink.h and linux/rtnetlink.h, in the machine's byte order.
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, sender
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # family, bits of destination, …, type (the eighth)
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_ERROR: Final = struct.Struct("=i")
_REQUEST: Final = 1
_IS_ERROR: Final = 2
_GET_ROUTE: Final = 26
_DESTINATION: Final = 1
_LOCAL: Final = (2, 4)  # to this machine; to an anycast address that it answers for
_ANSWER_BYTES: Final = 4096


def is_local(address: Address) -> bool:
    """Ask the kernel whether its route to this address ends on this machine. Sends nothing.

    Not by binding: with `net.ipv4.ip_nonlocal_bind` every address can be bound to.

    Raises:
        OSError: it could not be asked. The address may be this machine's then.
    """
    if address.is_loopback:
        return True
    try:
        return _route_type(address) in _LOCAL
    except OSError as error:
        if error.errno in _NO_NETLINK:
            return _speaks_to_itself(address)
        if error.errno in _NO_ROUTE:
            return False  # to an address of its own a machine has a way
        raise


def _route_type(address: Address) -> int:
    """What kind of route leads to an address.

    Raises:
        OSError: there is none, or routes cannot be asked for.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    destination = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address.packed), _DESTINATION)
    asked = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = asked + destination + address.packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.setblocking(False)  # the answer is there when `send` returns
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body)
        answer = kernel.recv(_ANSWER_BYTES)
    if _HEADER.unpack_from(answer)[1] == _IS_ERROR:
        number = -_ERROR.unpack_from(answer, _HEADER.size)[0]
        raise OSError(number, os.strerror(number))
    route_type: int = _ROUTE.unpack_from(answer, _HEADER.size)[7]
    return route_type


def _speaks_to_itself(address: Address) -> bool:
    """Where routes cannot be asked for, in a sandbox: see whether the kernel would speak to an
    address from that same. To the second of two in one network it would speak from the first."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), _PORT))
            own = str(probe.getsockname()[0])
    except OSError as error:
        if error.errno in _NO_ROUTE:
            return False
        raise
    return ipaddress.ip_address(own.partition("%")[0]) == address

"""Which failures are about this machine alone."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from dispatcher.delivery.lacking import is_of_descriptors, is_ours

LACKING = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL"]
OF_THE_DESTINATION = [
    "ENETUNREACH",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ECONNRESET",
    "EPIPE",
]


def error(name: str) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("name", LACKING)
def test_what_this_machine_lacks_is_ours(name: str) -> None:
    """Descriptors, memory, ports."""
    assert is_ours(error(name))
    assert is_ours(OSError(f"Multiple exceptions: {error(name)}, {error('EMFILE')}"))


@pytest.mark.parametrize("name", OF_THE_DESTINATION)
def test_what_the_destination_does_is_not_ours(name: str) -> None:
    """Also when another of its addresses could not be tried. Of a network that cannot be reached
    `test_delivery_ways` has more."""
    assert not is_ours(error(name))
    assert not is_ours(OSError(f"Multiple exceptions: {error('EMFILE')}, {error(name)}"))


def test_other_errors_are_told_apart() -> None:
    """Memory is ours; a name that does not exist, and an error without a number, are not."""
    assert is_ours(MemoryError())
    assert is_ours(socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"))
    assert not is_ours(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert not is_ours(RuntimeError("unexpected"))
    assert not is_ours(OSError("something"))


def test_lack_of_descriptors_is_told_from_the_others() -> None:
    """Only there does it help to close a connection."""
    assert is_of_descriptors(error("EMFILE"))
    assert is_of_descriptors(OSError(f"Multiple: {error('ENETDOWN')}, {error('ENFILE')}"))
    assert not is_of_descriptors(error("ENETUNREACH"))
    assert not is_of_descriptors(MemoryError())

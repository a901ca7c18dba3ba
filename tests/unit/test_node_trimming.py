"""Memory that malloc keeps is given back after a start."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import pytest

from dispatcher.node.trimming import give_back_memory

_MIB = 1024 * 1024


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_what_a_thread_has_freed_below_what_stays_is_given_back() -> None:
    """As after a log was read back: glibc would keep it for as long as the process lives."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library than glibc")
    freed: list[bytearray] = []
    stays: list[bytearray] = []

    def fill() -> None:
        for _ in range(1000):
            freed.append(bytearray(64 * 1024))
        stays.append(bytearray(64 * 1024))

    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    freed.clear()
    before = _resident_bytes()
    assert give_back_memory()
    assert before - _resident_bytes() > 40 * _MIB
    assert len(stays) == 1


def test_another_c_library_than_glibc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no such function."""
    monkeypatch.setattr("dispatcher.node.trimming.ctypes.CDLL", lambda name: object())
    assert not give_back_memory()

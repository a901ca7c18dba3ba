"""Memory that malloc keeps after a start is given back to the system.

While a log is read back, threads get megabytes from malloc that are free afterwards, but lie below
something that stays, or in the arena of a thread: glibc keeps such pages until it needs them again.
With 30 000 calls that sleep that was half of the memory that they seem to take.
"""

from __future__ import annotations

import ctypes


def give_back_memory() -> bool:
    """Let malloc give back what is free; whether it knows how to (glibc does).

    It runs without the interpreter's lock, but whoever needs an arena waits while it is looked
    through: call it from a thread, and not while much is going on.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim.argtypes = (ctypes.c_size_t,)
    trim.restype = ctypes.c_int
    trim(0)
    return True

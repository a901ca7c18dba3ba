"""Processes that share the file of a receiver's store; each prints what it has done as it does it.

claim FILE COUNT        claims messages 0 to COUNT in any order, and prints those it got
handle FILE NAME        claims and finishes NAME-0, NAME-1, … for ever; prints what was handled
hold FILE MESSAGE       claims a message, says so, and never ends
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from uuid import uuid4

from dispatcher.receiver import Claimed, SqliteStore

LEASE_US = 60_000_000


def main() -> None:
    """Do what the command line says, once a line has come."""
    word, path, what = sys.argv[1:]
    sys.stdin.readline()
    store = SqliteStore(path, wait_s=60)
    if word == "claim":
        messages = list(range(int(what)))
        random.shuffle(messages)
        for message in messages:
            if _claim(store, str(message)):
                print(message, flush=True)
    elif word == "handle":
        for number in itertools.count():
            assert _claim(store, f"{what}-{number}")
            store.finish(f"{what}-{number}", now_us=_now_us())
            print(f"{what}-{number}", flush=True)
    else:
        assert _claim(store, what)
        print(_now_us(), flush=True)
        time.sleep(3600)


def _claim(store: SqliteStore, message_id: str) -> bool:
    found = store.claim(message_id, uuid4().hex, now_us=_now_us(), lease_us=LEASE_US)
    return isinstance(found, Claimed)


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    main()

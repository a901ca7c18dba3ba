"""Steps that are to run once at most, and how a process knows that it is the one.

Before such a step its intent is stored with the record: a word, and when it was said. Then the
server resumes the call, in whichever process, and it may do so twice, if an answer is lost. So who
is about to begin claims the word at the server first, where the first one gets it. Without a server
that can be asked only the process that made the word begins, and once.

Who does not get the word does not know whether the step has begun, and does not run it.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from dispatcher.protocol.messages import StringValue
from dispatcher.sdk.replay.model import Value

_MOST_WORDS: Final = 100_000
_WORD_BYTES: Final = 8
_FRESH_US: Final = 3_600_000_000
"""After an hour nobody begins: a server forgets what was claimed, after a day unless told
otherwise."""

Claim: TypeAlias = Callable[[str], Awaitable[bool | None]]
"""Claims a word: whether it was free; None, the server claims nothing for this application. Raises
NotClaimed."""


class NotClaimed(Exception):
    """The server could not be asked. Another time it may."""


class Intents:
    """Of one process. For any number of threads."""

    def __init__(self, claim: Claim | None, *, now_us: Callable[[], int]) -> None:
        self._claim = claim
        self._now_us = now_us
        self._own: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def announce(self) -> Value:
        """Return a new intent."""
        word = secrets.token_hex(_WORD_BYTES)
        with self._lock:
            self._own[word] = None
            if len(self._own) > _MOST_WORDS:
                self._own.popitem(last=False)
        said = StringValue(value=f"{word} {self._now_us()}")
        return Value("google.protobuf.StringValue", said.SerializeToString())

    async def take(self, intent: Value) -> bool:
        """Whether the step may begin; it may not another time.

        Raises:
            NotClaimed: nobody knows now.
        """
        word, said_us = _read(intent)
        with self._lock:
            is_own = self._own.pop(word, self) is None
        if self._now_us() > said_us + _FRESH_US:
            return False
        claimed = None if self._claim is None else await self._claim(word)
        return is_own if claimed is None else claimed


def is_intent(value: Value) -> bool:
    """Whether it looks like one: no two are alike."""
    word, said_us = _read(value)
    return len(word) == _WORD_BYTES * 2 and said_us > 0


def _read(intent: Value) -> tuple[str, int]:
    try:
        word, _, said_us = StringValue.FromString(intent.data).value.partition(" ")
        return word, int(said_us)
    except (DecodeError, ValueError):
        return "", 0

"""Reading a stream's messages, many with one request, from whichever of its servers answers.

That one may be behind: what it does not have yet is asked for again. What it has is what was
stored: servers show only what a majority has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

from dispatcher.errors import LogTrimmed
from dispatcher.txlog.nats.link import Answer, Silence
from dispatcher.txlog.nats.stream import Stream

_TOGETHER: Final = 256
_TOGETHER_BYTES: Final = 8 << 20


async def fetch(stream: Stream, first: int, last: int) -> list[tuple[int, bytes]]:
    """Return the messages from `first` on, some of those up to `last`, one at least, without a
    gap.

    Raises:
        LogBusy: no server gives them now.
        LogTrimmed: `first` is not there any more.
        LogCorrupt: `first` is not there, and should be.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + stream.patience.open_s
    while True:
        try:
            found = _following(await _ask(stream, first, last), first)
        except Silence:
            found = []
        if found:
            return found
        held = await stream.held()
        if held.first > first:
            raise LogTrimmed(f"stream {stream.name}: message {first} was trimmed away")
        if loop.time() >= until:
            if await _is_missing(stream, first):
                raise stream.damaged(first, "it is not there, and those around it are")
            raise stream.busy()
        await asyncio.sleep(stream.patience.again_s)


async def _is_missing(stream: Stream, sequence: int) -> bool:
    """Whether the leader itself has not got a message that lies between those that it has."""
    if await stream.at(sequence) is not None:
        return False
    held = await stream.held()
    return held.first <= sequence < held.last


async def fetch_all(
    stream: Stream, first: int, last: int
) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Return all messages from `first` to `last`, in order. Raises what `fetch` does."""
    while first <= last:
        found = await fetch(stream, first, last)
        yield found
        first = found[-1][0] + 1


async def _ask(stream: Stream, first: int, last: int) -> list[Answer]:
    request = {
        "seq": first,
        "next_by_subj": f"{stream.name}.>",
        "batch": min(_TOGETHER, last - first + 1),
        "max_bytes": _TOGETHER_BYTES,
    }
    return await stream.link.gather(
        f"$JS.API.DIRECT.GET.{stream.name}",
        json.dumps(request).encode(),
        timeout_s=stream.patience.ask_s,
    )


def _following(answers: list[Answer], first: int) -> list[tuple[int, bytes]]:
    """The messages that follow each other from `first` on. What comes after a gap is asked for
    again: a server that purges at this moment may have sent only a part."""
    found: list[tuple[int, bytes]] = []
    for answer in answers:
        if int(answer.headers.get("Nats-Sequence", 0)) != first + len(found):
            break
        found.append((first + len(found), answer.data))
    return found

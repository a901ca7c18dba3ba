"""Opening a log keeps every earlier owner out: by a fence, a message that all later ones name.

It is stored wherever the stream ends, with no condition: whoever appends after it with an older
fence is refused by the servers, whatever that process believes, however long it slept.
"""

from __future__ import annotations

import asyncio

from dispatcher.errors import LogFenced, LogUnavailable
from dispatcher.txlog.nats.answers import ApiError, parse
from dispatcher.txlog.nats.batch import Fence, encode_fence
from dispatcher.txlog.nats.link import Silence
from dispatcher.txlog.nats.stream import Stream


async def check_epoch(stream: Stream, epoch: int) -> None:
    """Raise LogFenced when a higher epoch was here. Nothing is written."""
    last = await stream.last_fence()
    if last is not None:
        refuse_higher(stream, last[1], epoch)


def refuse_higher(stream: Stream, fence: Fence, epoch: int) -> None:
    """Raise LogFenced when a fence is of a higher epoch."""
    if fence.epoch > epoch:
        raise fenced_by(stream, fence)


def fenced_by(stream: Stream, fence: Fence) -> LogFenced:
    """Return the error that says whose fence it is."""
    return LogFenced(
        f"stream {stream.name}: {fence.owner} has opened the log with epoch {fence.epoch}"
    )


async def put_fence(stream: Stream, fence: Fence) -> int:
    """Store a fence, and return its number. A try that was not answered may be stored too, before
    it or later; readers pass over it.

    Raises:
        LogUnavailable: there is not even space for that.
        LogBusy: its servers do not answer.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + stream.patience.open_s
    data = encode_fence(fence)
    headers = {"Nats-Expected-Stream": stream.name}
    while True:
        try:
            answer = await stream.link.request(
                stream.fences, data, headers=headers, timeout_s=stream.patience.ask_s
            )
        except Silence:
            fields = None
        else:
            fields = parse(answer.data)
        if isinstance(fields, dict) and isinstance(fields.get("seq"), int):
            return int(fields["seq"])
        if loop.time() >= until:
            if isinstance(fields, ApiError):
                raise LogUnavailable(f"stream {stream.name}: {fields.why} ({fields.code})")
            raise stream.busy()
        await asyncio.sleep(stream.patience.again_s)

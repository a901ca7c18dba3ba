"""Which logs there are on the servers, and the epochs of their last owners."""

from __future__ import annotations

import json

from dispatcher.errors import LogBusy
from dispatcher.txlog.nats.answers import ApiError, parse
from dispatcher.txlog.nats.asking import Patience
from dispatcher.txlog.nats.link import Link, Silence
from dispatcher.txlog.nats.stream import Stream


async def epochs(link: Link, prefix: str, patience: Patience) -> dict[str, int]:
    """Return the epoch of the last owner of each log whose name begins like that; 0: it never had
    one.

    Raises:
        LogBusy: the servers do not answer now.
        LogError: they refuse to, or what stands in a log is no fence.
    """
    found: dict[str, int] = {}
    for name in await _names(link, patience):
        if name.startswith(prefix):
            stream = Stream(link, name, replicas=1, max_bytes=-1, patience=patience)
            last = await stream.last_fence()
            found[name] = 0 if last is None else last[1].epoch
    return found


async def _names(link: Link, patience: Patience) -> list[str]:
    """All streams of the account. Servers tell some at a time."""
    names: list[str] = []
    while True:
        asked = json.dumps({"offset": len(names)}).encode()
        try:
            answer = await link.request("$JS.API.STREAM.NAMES", asked, timeout_s=patience.open_s)
            fields = parse(answer.data)
        except Silence:
            fields = None
        if fields is None or isinstance(fields, ApiError):
            why = fields.why if fields else "nothing is answered"
            raise LogBusy(f"the NATS servers do not say which streams there are: {why}")
        some = fields.get("streams") or []
        names += some
        if not some or len(names) >= int(fields.get("total", 0)):
            return names

"""Refusing servers that cannot keep logs, before any log is opened.

Whether a server syncs always only its monitoring says (`http` in its configuration); a client is
not told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientTimeout

from dispatcher.errors import ConfigError, LogBusy
from dispatcher.txlog.nats.checks import wrong_with_server

FEWEST: Final = 3
"""With fewer there is no majority when one is gone."""


async def check_servers(
    monitoring: Sequence[str], *, fewest: int = FEWEST, timeout_s: float = 2.0
) -> None:
    """Ask the monitoring of every server of the cluster (`http://host:8222`).

    Raises:
        ConfigError: one cannot keep logs, or they are too few; it says what to change.
        LogBusy: one does not answer, so that nobody knows. Ask again.
    """
    if len(monitoring) < fewest:
        raise ConfigError(
            f"{len(monitoring)} NATS servers: {fewest} are needed at least, so that logs are kept"
            " when one is gone"
        )
    async with ClientSession(timeout=ClientTimeout(timeout_s)) as session:
        found = await asyncio.gather(*(_varz(session, address) for address in monitoring))
    wrong = [why for one in found if (why := wrong_with_server(one)) is not None]
    if wrong:
        raise ConfigError("; ".join(wrong))


async def _varz(session: ClientSession, address: str) -> Mapping[str, Any]:
    url = f"{address.rstrip('/')}/varz"
    try:
        async with session.get(url) as answer:
            fields = await answer.json(content_type=None)
    except (ClientError, OSError, TimeoutError, ValueError) as error:
        raise LogBusy(
            f"{url} says nothing about its NATS server ({error!r}). Start it with `http: 8222`, or"
            " name its monitoring."
        ) from error
    if not isinstance(fields, dict):
        raise LogBusy(f"{url} is not the monitoring of a NATS server")
    return fields

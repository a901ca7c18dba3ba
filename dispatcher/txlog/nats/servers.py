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
) -> list[str]:
    """Ask the monitoring of every server of the cluster (`http://host:8222`). Returns those that do
    not answer: a machine that is away keeps no node from starting, and its server is unknown.

    Raises:
        ConfigError: one cannot keep logs, or they are too few; it says what to change.
        LogBusy: not even a majority answers. Ask again.
    """
    if len(monitoring) < fewest:
        raise ConfigError(
            f"{len(monitoring)} NATS servers: {fewest} are needed at least, so that logs are kept"
            " when one is gone"
        )
    async with ClientSession(timeout=ClientTimeout(timeout_s)) as session:
        asking = (_varz(session, address) for address in monitoring)
        found = await asyncio.gather(*asking, return_exceptions=True)
    silent: list[str] = []
    wrong: list[str] = []
    named: dict[str, str] = {}
    for address, one in zip(monitoring, found, strict=True):
        if isinstance(one, LogBusy):
            silent.append(address)
        elif isinstance(one, BaseException):
            raise one
        elif (why := wrong_with_server(one)) is not None:
            wrong.append(why)
        elif (other := named.get(server := str(one.get("server_id")))) is not None:
            wrong.append(
                f"{other} and {address} are the monitoring of one NATS server: expected each once, "
                "as CLUSTER_MONITORING, or port 8222 of the hosts of CLUSTER"
            )
        else:
            named[server] = address
    if wrong:
        raise ConfigError("; ".join(wrong))
    if len(silent) > (len(monitoring) - 1) // 2:
        raise next(one for one in found if isinstance(one, LogBusy))
    return silent


async def _varz(session: ClientSession, address: str) -> Mapping[str, Any]:
    url = f"{address.rstrip('/')}/varz"
    try:
        async with session.get(url) as answer:
            fields = await answer.json(content_type=None)
    except (ClientError, OSError, TimeoutError, ValueError) as error:
        why = str(error) or "no answer in time"
        raise LogBusy(
            f"{url} says nothing about its NATS server ({why}). Start it with `http: 8222`, or name"
            " its monitoring in CLUSTER_MONITORING"
        ) from error
    if not isinstance(fields, dict):
        raise LogBusy(f"{url} is not the monitoring of a NATS server")
    return fields

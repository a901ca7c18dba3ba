"""NATS for clusters of tests: three servers for all tests of this process, and an account for each
cluster, whose streams go when it is of no more use."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Final

from dispatcher.testing.nats import NatsServers, servers

_ACCOUNTS: Final = 64
_MOST_BYTES: Final = 1 << 40
"""What streams may take is reserved, and a small disk would have no room for that."""
_PATIENCE_S: Final = 20.0


class NatsOfClusters:
    """Servers that run until `stop`."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="dispatcher-nats-"))
        self._servers = _made(self._directory)
        self._servers.start()
        # First the one that was given back longest ago: its streams are gone for certain.
        self._free = deque(f"account{number}" for number in range(_ACCOUNTS))

    def take(self) -> str:
        """An account without streams."""
        return self._free.popleft()

    def give_back(self, account: str) -> None:
        """Delete all that a cluster has stored, of which no node runs any more."""
        asyncio.run(_delete_streams(self._servers.urls, account))
        self._free.append(account)

    def settings(self, account: str, first: int) -> dict[str, str]:
        """Settings of a node, whose own server is the one of this number."""
        every = self._servers.servers
        own_first = [*every[first % len(every) :], *every[: first % len(every)]]
        return {
            "CLUSTER": ",".join(
                f"nats://{account}:{account}@127.0.0.1:{one.port}" for one in own_first
            ),
            "CLUSTER_MONITORING": ",".join(
                f"http://127.0.0.1:{one.monitoring_port}" for one in own_first
            ),
        }

    def stop(self) -> None:
        """End them, and remove what they have stored."""
        self._servers.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _made(directory: Path) -> NatsServers:
    made = servers(directory, count=3, most_bytes=_MOST_BYTES)
    accounts = "\n".join(
        f'  account{number} {{jetstream: enabled, users: [{{user: "account{number}", '
        f'password: "account{number}"}}]}}'
        for number in range(_ACCOUNTS)
    )
    for one in made.servers:
        one.text += f"accounts {{\n{accounts}\n}}\n"
    return made


async def _delete_streams(urls: list[str], account: str) -> None:
    import nats

    client = await nats.connect(urls, user=account, password=account)
    try:
        answer = await client.request("$JS.API.STREAM.NAMES", b"{}", timeout=_PATIENCE_S)
        for name in json.loads(answer.data).get("streams") or ():
            await client.request(f"$JS.API.STREAM.DELETE.{name}", b"", timeout=_PATIENCE_S)
    finally:
        await client.close()

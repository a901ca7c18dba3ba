"""The API on a free port of loopback, over a `MemoryAdmin`, and a client that asks it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from dispatcher.api.entrance import Lines
from dispatcher.api.health import Health
from dispatcher.api.masking import Masking
from dispatcher.api.server import DEFAULT_CONNECTIONS, ApiServer
from dispatcher.core.keys import Keyring
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.backups import MemoryBackups
from dispatcher.testing.carrier import MemoryCarrier
from dispatcher.testing.cluster import MemoryCluster, alone
from dispatcher.testing.function_service import MemoryFunctions
from dispatcher.testing.memory_audit import MemoryAudit
from dispatcher.testing.outlook import MemoryOutlook
from dispatcher.testing.replayer import MemoryReplayer
from dispatcher.testing.sessions import MemorySessions


class ApiBench:
    """A served API: what it stands on, what it is told to say, and what it logged."""

    def __init__(
        self,
        keys: tuple[bytes, ...] | Keyring = (),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_connections: int = DEFAULT_CONNECTIONS,
        lines: Lines | None = None,
        functions: MemoryFunctions | None = None,
        sessions: MemorySessions | None = None,
        masking: Masking | None = None,
        is_fronted: bool = False,
    ) -> None:
        self.admin = MemoryAdmin()
        self.carrier = MemoryCarrier()
        self.replayer = MemoryReplayer()
        self.backups = MemoryBackups()
        self.audit = MemoryAudit()
        self.functions = functions
        self.outlook = MemoryOutlook()
        self.cluster = MemoryCluster(alone(self.outlook.now_us()))
        self.reason: str | None = None
        self.render: Callable[[], str] = lambda: "up 1\n"
        self.lines: list[str] = []
        self.server = ApiServer(
            host,
            port,
            keys if isinstance(keys, Keyring) else Keyring.of_secrets(*keys),
            admin=self.admin,
            carrier=self.carrier,
            replayer=self.replayer,
            backups=self.backups,
            keeper=self.audit,
            health=lambda: Health(self.reason),
            metrics=self._metrics,
            outlook=self.outlook,
            cluster=self.cluster,
            events=Events(open_log(self.lines.append, level="debug", format="json")),
            max_connections=max_connections,
            lines=lines,
            functions=functions,
            sessions=sessions,
            schedules=None if functions is None else functions.schedules,
            masking=masking,
            is_fronted=is_fronted,
        )

    async def _metrics(self) -> str:
        return self.render()

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.server.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.server.bound[0]

    @property
    def url(self) -> str:
        """Where it listens, as the beginning of a URL."""
        host, port = self.address
        return f"http://{host}:{port}"

    async def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        *,
        send: Any = None,
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], str]:
        """Send a request; status, headers and body of its answer.

        `path` is sent as it is; `send` is sent as JSON, `body` as it is.
        """
        url = URL(self.url + path, encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers, json=send, data=body) as answer,
        ):
            return answer.status, dict(answer.headers), await answer.text()

    async def get(self, path: str) -> Any:
        """The document at a path that is there."""
        status, _, text = await self.ask(path)
        assert status == 200, text
        return json.loads(text)

    async def change(self, path: str, method: str = "POST", send: Any = None) -> tuple[int, Any]:
        """Change something; status and document, None without one."""
        status, _, text = await self.ask(path, method, send=send)
        return status, json.loads(text) if text else None

    async def error(
        self,
        path: str,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        *,
        send: Any = None,
        body: bytes | None = None,
    ) -> tuple[int, str]:
        """Send a request that is refused; status and slug, after a look at the shape."""
        status, received, text = await self.ask(path, method, headers, send=send, body=body)
        answer = json.loads(text)
        assert list(answer) == ["error", "message"]
        assert answer["message"].endswith(".")
        assert received["Content-Type"].startswith("application/json")
        return status, answer["error"]

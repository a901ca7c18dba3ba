"""An application: its functions, its settings, and how the server reaches it.

```python
app = dispatch.Dispatch(greet, welcome)
app.serve()                                  # or app.asgi(), app.wsgi(), a mount
```

Everything that carries requests stands on `handle`, which takes and gives bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from dispatcher import __version__
from dispatcher.errors import ConfigError
from dispatcher.protocol.verifying import Verifier
from dispatcher.sdk import http, uncaught
from dispatcher.sdk.check import Checked, Watched
from dispatcher.sdk.claim import claim_with
from dispatcher.sdk.client.batch import Batch
from dispatcher.sdk.client.blocking import SyncClient
from dispatcher.sdk.client.client import Client
from dispatcher.sdk.config import DEFAULT_WARM, Address, Check, Config, read_config
from dispatcher.sdk.endpoint import Answer, Endpoint, Headers
from dispatcher.sdk.errors import failure_of
from dispatcher.sdk.functions import apps, context
from dispatcher.sdk.functions.describing import describe
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.ports import Caller, SyncCaller
from dispatcher.sdk.functions.registry import by_name
from dispatcher.sdk.functions.served import Served
from dispatcher.sdk.functions.unknown import explained
from dispatcher.sdk.reaching import can_ask, open_at, server_of
from dispatcher.sdk.recall import recall_from
from dispatcher.sdk.replay.engine import Run
from dispatcher.sdk.running.recalling import Recall
from dispatcher.sdk.running.runnable import Runnable
from dispatcher.sdk.running.runner import Runner

if TYPE_CHECKING:
    from dispatcher.sdk.serving.asgi import Asgi
    from dispatcher.sdk.serving.wsgi import Wsgi

_log: Final = logging.getLogger("dispatcher.sdk")

AnyFunction = Function[Any, Any]


class Dispatch:
    """An application of functions. Any thread and event loop may use it.

    Made last, it is the one that calls from outside of functions go through: `await f(x)`,
    `f.dispatch(x)`.
    """

    @explained("Dispatch", url="write endpoint_url= or api_url=.")
    def __init__(
        self,
        *functions: AnyFunction,
        endpoint_url: str | None = None,
        api_url: str | None = None,
        api_key: str | None = None,
        verification_key: str | None = None,
        address: str | None = None,
        warm: int = DEFAULT_WARM,
    ) -> None:
        """What is None comes from the environment: DISPATCH_ENDPOINT_URL, DISPATCH_API_URL,
        DISPATCH_API_KEY, DISPATCH_VERIFICATION_KEY, DISPATCH_ENDPOINT_ADDR.

        Args:
            functions: what was made with `@dispatch.function`; more may be given with `register`.
            endpoint_url: where the server reaches this application.
            verification_key: the server's public key; without one requests of anybody are answered.
            address: HOST:PORT where `serve` listens.
            warm: how many suspended calls are kept in memory, 0: none. Each takes 5 to 11 kB.

        Raises:
            ConfigError: a setting is wrong. The message says which, and what to write.
            TypeError, ValueError: something is no function, or has the name of another one.
        """
        uncaught.install()
        try:
            self.config: Final[Config] = read_config(
                endpoint_url=endpoint_url,
                api_url=api_url,
                api_key=api_key,
                verification_key=verification_key,
                address=address,
                warm=warm,
            )
        except ConfigError as error:  # its traceback is the application's: the mistake is there
            raise error.with_traceback(None) from None
        self._functions: dict[str, AnyFunction] = {}
        # One that names no application of its own, so it is not given to this one.
        self._runnables: dict[str, Runnable] = {http.send.name: Served(http.send)}
        self._runner = Runner(
            self._runnables,
            warm=self.config.warm,
            recall=self._recall(),
            claim=claim_with(lambda: self.caller) if can_ask(self.config) else None,
            failure_of=lambda error: failure_of(error)[1],
            engine=_engine(self.config.check),
        )
        keys = self.config.verification_keys
        self._endpoint = Endpoint(self._runner, Verifier(keys) if keys else None, about=self._about)
        self.register(*functions)
        apps.made(self)
        self._warn()

    def __repr__(self) -> str:
        return f"<Dispatch of {', '.join(self._functions) or 'nothing'}>"

    def register(self, *functions: AnyFunction) -> None:
        """Add functions.

        Raises:
            TypeError: something is no function of `@dispatch.function`.
            ValueError: another one has the same name.
        """
        known = by_name((*self.functions, *functions))
        for name, function in known.items():
            if name not in self._functions:
                self._functions[name] = function
                self._runnables[name] = Served(function)
                function.give_to(self)

    @property
    def functions(self) -> tuple[AnyFunction, ...]:
        """The functions, in the order in which they were given."""
        return tuple(self._functions.values())

    @property
    def url(self) -> str:
        """Where the server reaches this application.

        Raises:
            ConfigError: nothing says it.
        """
        return self.config.where_endpoint()

    @cached_property
    def client(self) -> Client:
        """The server, as this application asks it: to look at calls, wait for them and end them."""
        return Client(server=server_of(self.config), endpoint_url=self.config.endpoint_url or "")

    @cached_property
    def sync_client(self) -> SyncClient:
        """`client` for code that is not async."""
        return SyncClient(
            server=server_of(self.config), endpoint_url=self.config.endpoint_url or ""
        )

    @property
    def caller(self) -> Caller:
        """What makes the calls of its functions from outside."""
        return self.client.caller

    @property
    def sync_caller(self) -> SyncCaller:
        """`caller` for code that is not async."""
        return self.sync_client.caller

    def batch(self) -> Batch:
        """Return an empty batch: calls that are dispatched together, all or none."""
        return Batch(self.caller, self.sync_caller)

    def serve(self) -> None:
        """Listen at `address` until SIGINT or SIGTERM; then let runs that are under way end, for
        25 seconds. Where nobody can listen there, that is printed, and the process ends with 3.

        Raises:
            RuntimeError: an event loop runs here already.
            SystemExit: nobody can listen there.
        """
        from dispatcher.sdk.serving.serve import serve

        serve(self)

    async def serve_async(self) -> None:
        """`serve` on the loop that runs here, until this is cancelled."""
        from dispatcher.sdk.serving.serve import serve_async

        await serve_async(self)

    def serving(self) -> AbstractAsyncContextManager[Address]:
        """Listen while a block runs: `async with app.serving(): print(await welcome(names))`.

        The block is given the address (`host`, `port`). At its end, runs that are under way have 25
        seconds to end; calls that have not ended stay with the server. What `serve` prints goes to
        stderr here.

        Raises:
            PortTaken: nobody can listen there.
        """
        from dispatcher.sdk.serving.serve import serving

        return serving(self)

    def asgi(self) -> Asgi:
        """Return an application of ASGI."""
        from dispatcher.sdk.serving.asgi import Asgi

        return Asgi(self)

    def wsgi(self) -> Wsgi:
        """Return an application of WSGI."""
        from dispatcher.sdk.serving.wsgi import Wsgi

        return Wsgi(self)

    async def handle(self, method: str, path: str, headers: Headers, body: bytes) -> Answer:
        """Answer an HTTP request: a run of a function, or somebody who looks.

        Args:
            path: path and query as in the request line, with the prefix that the application is
                mounted at, if any.
            headers: pairs, or a mapping; names in any case.
        """
        token = context.app.set(self)
        try:
            return await self._endpoint.handle(method, path, headers, body)
        finally:
            context.app.reset(token)

    def describe(self) -> list[str]:
        """What is known of each function: its name, whether it is plain or durable, and why."""
        return [describe(function) for function in self.functions]

    def close(self) -> None:
        """Forget suspended calls that are kept in memory; they go on from their states. It can be
        used again."""
        self._runner.close()

    def _about(self) -> str:
        count = len(self._functions)
        return (
            f"An application of dispatcher {__version__} with {count} "
            f"function{'' if count == 1 else 's'}. Its server runs them; there is nothing to see."
        )

    def _warn(self) -> None:
        url = open_at(self.config)
        if url is not None:
            _log.warning(
                "runs of anybody are answered at %s: set DISPATCH_VERIFICATION_KEY to what "
                "`dispatcher keys show` prints on the server",
                url,
            )

    def _recall(self) -> Recall | None:
        return recall_from(server_of(self.config)) if can_ask(self.config) else None


def _engine(check: Check) -> Callable[..., Run]:
    """What makes the runs of durable functions. Where they are only watched, a line of the source
    is told of once, and not for each call again."""
    match check:
        case Check.NONE:
            return Run
        case Check.WATCH:
            return partial(Watched, report=_log.error, seen=set())
        case Check.REPLAY:
            return partial(Checked, report=_log.error)

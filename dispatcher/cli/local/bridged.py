"""A server somewhere else, as what runs the calls of a session: through its bridge, so it need not
reach the application."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dispatcher.cli import output
from dispatcher.cli.address import Server
from dispatcher.cli.calls import HAS_ENDED
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import CommandError
from dispatcher.cli.local.bridge_client import BridgeClient
from dispatcher.cli.local.calls import Calls
from dispatcher.cli.local.happenings import Happenings, ServerReady, Watching

_LISTED: Final = 500
_ANY_KEY: Final = "none"
"""SDKs want one, also for a server that asks for none."""


@dataclass(frozen=True, slots=True)
class Far:
    """A server, the key for it, and the name of the session there."""

    server: Server
    key: str | None
    session: str


class Bridged:
    """See `backend.Backend`. `again` is the command, for the person."""

    def __init__(
        self, far: Far, endpoint: str, happenings: Happenings, again: Sequence[str]
    ) -> None:
        self._far = far
        self._endpoint = endpoint
        self._happenings = happenings
        self._again = again
        self._api = Api(far.server, far.key)
        self._client = BridgeClient(far.server, far.key, far.session, endpoint, happenings)

    def start(self) -> None:
        """See `Backend`.

        Raises:
            CommandError: nobody is there, or the key is refused. Nothing was started.
        """
        self._list()
        self._happenings.put(ServerReady(str(self._far.server)))
        self._happenings.put(Watching())

    def greeting(self, api: str) -> Sequence[str]:
        """See `Backend`."""
        self._client.start()
        waiting = self._not_ended()
        have = f", where {_wait(waiting)}" if waiting else ""
        return [f"Calls run on {api}, in session {self._far.session}{have}."]

    def environment(self) -> dict[str, str]:
        """See `Backend`. Runs that are fetched are not signed, so there is no key for that."""
        return {
            "DISPATCH_API_URL": str(self._far.server),
            "DISPATCH_API_KEY": self._far.key or _ANY_KEY,
            "DISPATCH_ENDPOINT_URL": self._client.url,
            "DISPATCH_ENDPOINT_ADDR": self._endpoint,
        }

    def learn(self, calls: Calls) -> None:
        """See `Backend`."""
        try:
            calls.learn(self._list())
        except CommandError:
            return  # what passes here is heard of all the same

    def farewell(self) -> str | None:
        """See `Backend`."""
        left = self._not_ended()
        if not left:
            return None
        again = (
            f"dispatcher run --api-url {self._far.server} --session {self._far.session} -- "
            f"{shlex.join(self._again)}"
        )
        return f"{_wait(left)} there. `{again}` goes on."

    def goes_on(self) -> str | None:
        """See `Backend`. Nothing is known of how that server ends."""
        return None

    def stop(self, *, at_once: bool) -> None:
        """See `Backend`."""
        self._client.stop()

    def _not_ended(self) -> int:
        try:
            return sum(call["state"] not in HAS_ENDED for call in self._list())
        except CommandError:
            return 0

    def _list(self) -> list[Json]:
        query = {"endpoint": self._client.url, "limit": _LISTED}
        found: list[Json] = self._api.get("/v1/calls", query)["items"]
        return found


def _wait(number: int) -> str:
    return f"{output.plural(number, 'call')} {'waits' if number == 1 else 'wait'}"

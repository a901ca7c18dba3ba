"""A session's own server, as what runs its calls."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from dispatcher.cli import output, where
from dispatcher.cli.address import Server
from dispatcher.cli.client import Api
from dispatcher.cli.errors import CommandError
from dispatcher.cli.local.calls import Calls
from dispatcher.cli.local.guarding import Guard
from dispatcher.cli.local.happenings import Happenings
from dispatcher.cli.local.ports import HOST
from dispatcher.cli.local.server import SessionServer, signing_key_of
from dispatcher.cli.local.session import Session, write_environment
from dispatcher.cli.local.watching import watch

_LISTED: Final = 500
_NOT_ENDED: Final = ("ready", "scheduled", "running", "suspended", "outside")


class OwnServer:
    """See `backend.Backend`. `again` is the command line without its options, for the person."""

    def __init__(self, session: Session, guard: Guard, happenings: Happenings, again: str) -> None:
        self._session = session
        self._guard = guard
        self._happenings = happenings
        self._again = again
        self._server: SessionServer | None = None
        port = session.facts.api_port
        self._api = Api(Server("http", HOST, port), session.facts.key)

    def start(self) -> None:
        """See `Backend`."""
        self._server = SessionServer(self._session, self._happenings)
        self._guard.add(self._server.group)

    def greeting(self, api: str) -> Sequence[str]:
        """See `Backend`."""
        watch(self._api, self._happenings)
        path = write_environment(self._session, {**self.environment(), **self._of_commands()})
        lines = [
            f"Dashboard: http://{api}/, key {self._session.facts.key}",
            f"In other terminals: . {shlex.quote(str(path))}",
        ]
        waiting = self._not_ended()
        if waiting:
            verb = "goes" if waiting == 1 else "go"
            lines.append(
                f"Session {self._session.name}: {output.plural(waiting, 'call')} {verb} on."
            )
        return lines

    def environment(self) -> dict[str, str]:
        """See `Backend`. Once the server is ready: it has made its signing key then."""
        from dispatcher.functions.signing.file import SigningKeyFile

        facts = self._session.facts
        keys = SigningKeyFile(signing_key_of(self._session)).load()
        return {
            "DISPATCH_API_URL": str(self._api.server),
            "DISPATCH_API_KEY": facts.key,
            "DISPATCH_ENDPOINT_URL": url_of(facts.endpoint),
            "DISPATCH_ENDPOINT_ADDR": facts.endpoint,
            "DISPATCH_VERIFICATION_KEY": keys.public[0].base64,
        }

    def _of_commands(self) -> dict[str, str]:
        return {
            where.API_VARIABLE: str(self._api.server),
            where.KEY_VARIABLE: self._session.facts.key,
        }

    def learn(self, calls: Calls) -> None:
        """See `Backend`."""
        try:
            calls.learn(self._api.get("/v1/calls", {"limit": _LISTED})["items"])
        except CommandError:
            return  # it is ending; then nothing is shown any more

    def farewell(self) -> str | None:
        """See `Backend`."""
        left = self._not_ended()
        if not left:
            return None
        have = f"{output.plural(left, 'call')} {'has' if left == 1 else 'have'} not ended"
        them = "it" if left == 1 else "them"
        name = self._session.name
        if name is None:
            return f"{have}, and {'is' if left == 1 else 'are'} gone: --session NAME keeps {them}."
        return f"{have}. {self._resumed(name)} with {them}."

    def goes_on(self) -> str | None:
        """See `Backend`."""
        name = self._session.name
        return None if name is None else f"{self._resumed(name)} with what has not ended."

    def _resumed(self, name: str) -> str:
        return f"`dispatcher run --session {name} -- {self._again}` goes on"

    def stop(self, *, at_once: bool) -> None:
        """See `Backend`."""
        if self._server is not None:
            self._server.stop(at_once=at_once)
            self._guard.forget(self._server.group)
            self._server = None

    def _not_ended(self) -> int:
        try:
            totals = self._api.get("/v1/stats")["calls"]
        except CommandError:
            return 0
        return sum(totals[state] for state in _NOT_ENDED)


def url_of(endpoint: str) -> str:
    """The address at which an application is reached that listens on `host:port`."""
    host, _, port = endpoint.rpartition(":")
    reached = {"0.0.0.0": HOST, "[::]": "[::1]"}.get(host, host)
    return f"http://{reached}:{port}"

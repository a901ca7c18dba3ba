"""What the API asks of the bridge: requests that applications fetch, and what they answer.

Implemented by `bridge.Bridge`, with a twin for tests in `dispatcher.testing.sessions`. A session
belongs to the application that dispatches to it (the name of its API key, "" where the API is
open): nobody else's requests are ever fetched with the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dispatcher.core.answer import Answer


@dataclass(frozen=True, slots=True)
class Fetched:
    """A request as it would be sent: `head` and `body` together are a complete HTTP/1.1 request.
    `id` is what its answer has to name."""

    id: str
    head: bytes
    body: bytes


class Sessions(Protocol):
    """The sessions of one process."""

    async def fetch(self, application: str, session: str, *, wait_s: float) -> Fetched | None:
        """Wait for a request; None: there is none in this time, or the server stops. Who is
        cancelled has fetched nothing.

        Raises:
            Refused: the server stops.
        """

    def give_back(self, application: str, session: str, request_id: str) -> None:
        """It could not be handed over: it is to be fetched again, at once. No attempt is spent."""

    async def answer(
        self, application: str, session: str, request_id: str, came: Answer | str
    ) -> bool:
        """The application has answered; a string says why that is no response. Returns when the
        answer is needed no more; False: nobody waits for it."""

    def give_up(self, application: str, session: str, request_id: str) -> bool:
        """The application did not answer, and will not: the attempt has failed. False: nobody waits
        for it."""

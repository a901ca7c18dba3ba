"""A bridge without a function service behind it."""

from __future__ import annotations

import asyncio
from collections import deque

from dispatcher.core.answer import Answer
from dispatcher.functions.bridge.sessions import Fetched


class MemorySessions:
    """Implements `sessions.Sessions`. `requests` wait, by application and session; `out` were
    fetched, by id. `answers`, `given_up` and `given_back` are what came of them. `polling` counts
    those who wait. `is_endless`: there is always one more request."""

    def __init__(self, *, is_endless: bool = False) -> None:
        self.requests: dict[tuple[str, str], deque[Fetched]] = {}
        self.out: dict[str, tuple[str, str]] = {}
        self.answers: list[tuple[str, Answer | str]] = []
        self.given_up: list[str] = []
        self.given_back: list[str] = []
        self.waits: list[float] = []
        self.polling = 0
        self._is_endless = is_endless
        self._news = asyncio.Event()

    def put(self, application: str, session: str, fetched: Fetched) -> None:
        """One more request."""
        self.requests.setdefault((application, session), deque()).append(fetched)
        self._news.set()

    async def fetch(self, application: str, session: str, *, wait_s: float) -> Fetched | None:
        """See `Sessions`."""
        self.waits.append(wait_s)
        self.polling += 1
        try:
            async with asyncio.timeout(wait_s):
                return await self._next((application, session))
        except TimeoutError:
            return None
        finally:
            self.polling -= 1

    async def _next(self, whose: tuple[str, str]) -> Fetched:
        if self._is_endless:
            self.put(*whose, Fetched(f"r{len(self.out)}", b"POST / HTTP/1.1\r\n\r\n", b""))
        while not self.requests.get(whose):
            self._news.clear()
            await self._news.wait()
        fetched = self.requests[whose].popleft()
        self.out[fetched.id] = whose
        return fetched

    def give_back(self, application: str, session: str, request_id: str) -> None:
        """See `Sessions`."""
        if self._take(application, session, request_id):
            self.given_back.append(request_id)

    async def answer(
        self, application: str, session: str, request_id: str, came: Answer | str
    ) -> bool:
        """See `Sessions`."""
        is_known = self._take(application, session, request_id)
        if is_known:
            self.answers.append((request_id, came))
        return is_known

    def give_up(self, application: str, session: str, request_id: str) -> bool:
        """See `Sessions`."""
        is_known = self._take(application, session, request_id)
        if is_known:
            self.given_up.append(request_id)
        return is_known

    def _take(self, application: str, session: str, request_id: str) -> bool:
        if self.out.get(request_id) != (application, session):
            return False
        del self.out[request_id]
        return True

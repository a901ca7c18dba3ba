"""Sessions of the bridge: runs that applications fetch, because nobody can connect to them.

    lane `bridge://s` ─▶ pulled, for somebody who polls ─▶ deliver ─▶ fetched ─┬▶ answered
         ▲                                                   │                 ├▶ given up, timeout
         └──────── taken back: no attempt was made ◀─────────┴─────────────────┘

A call is pulled out of its lane only when somebody waits for it, so what nobody fetches waits in
its lane as any other call, and in the same order: a call is resumed before others begin. From when
its request is handed over until it is answered it is *out*, for `limits.MOST_FETCHED_MS` at most.

Everything runs on the event loop's thread. A session is forgotten when nobody polls and nothing of
it is out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from typing import Final, cast

from dispatcher.core.answer import Answer
from dispatcher.core.clock import SteadyClock
from dispatcher.core.message import Message
from dispatcher.core.outcome import Failure
from dispatcher.errors import Refused
from dispatcher.functions.bridge.session import Out, Session
from dispatcher.functions.bridge.sessions import Fetched
from dispatcher.functions.lanes.lane import At
from dispatcher.functions.lanes.lanes import pulled_lane
from dispatcher.functions.lanes.turns import Turns
from dispatcher.functions.runs.message import RunMessage
from dispatcher.queue.refusals import SHUTTING_DOWN

MOST_OUT: Final = 200
"""Requests of one session that are fetched and not answered, or whose answers are not stored."""


def new_id() -> str:
    """The id of a request: nobody guesses it, and no other has it, after a restart neither."""
    return token_hex(16)


class Bridge:
    """Implements `queue.ports.Deliverer` for lanes that are pulled, and `sessions.Sessions`. One
    for a process; made within a running event loop."""

    __slots__ = ("_clock", "_is_closed", "_loop", "_make_id", "_most_out", "_sessions", "_turns")

    def __init__(
        self,
        turns: Turns,
        clock: SteadyClock,
        *,
        make_id: Callable[[], str] = new_id,
        most_out: int = MOST_OUT,
    ) -> None:
        """It is told of `turns.lanes` what can be pulled."""
        self._turns = turns
        self._clock = clock
        self._make_id = make_id
        self._most_out = most_out
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[str, Session] = {}
        self._is_closed = False
        turns.lanes.can_be_pulled = self.can_be_pulled

    def __repr__(self) -> str:
        return f"<Bridge with {len(self._sessions)} sessions>"

    def __len__(self) -> int:
        return len(self._sessions)

    def close(self) -> None:
        """Let nobody fetch anything more; answers are still taken. Idempotent."""
        self._is_closed = True
        for session in self._sessions.values():
            for poller in session.pollers:
                poller.set_result(None)
            session.pollers.clear()

    # Who polls (`sessions.Sessions`).

    async def fetch(self, application: str, session: str, *, wait_s: float) -> Fetched | None:
        """See `Sessions`."""
        if self._is_closed:
            raise Refused(SHUTTING_DOWN)
        found = self._session(pulled_lane(session, application))
        poller: asyncio.Future[Fetched | None] = self._loop.create_future()
        found.pollers[poller] = None
        self._serve(found)
        try:
            await asyncio.wait([poller], timeout=wait_s)
        except asyncio.CancelledError:
            if poller.done() and (fetched := poller.result()) is not None:
                self.give_back(application, session, fetched.id)
            raise
        finally:
            found.pollers.pop(poller, None)
            self._forget_if_idle(found)
        return poller.result() if poller.done() else None

    def give_back(self, application: str, session: str, request_id: str) -> None:
        """See `Sessions`."""
        out = self._take(application, session, request_id)
        if out is not None:
            out.message.take_back()

    async def answer(
        self, application: str, session: str, request_id: str, came: Answer | str
    ) -> bool:
        """See `Sessions`."""
        out = self._take(application, session, request_id)
        if out is None:
            return False
        message = out.message
        if isinstance(came, str):
            message.home.failed(message, out.failed(Failure.BROKEN, came, self._clock.now_us()))
            return True
        is_needless = asyncio.Event()
        message.answer = replace(came, release=is_needless.set)
        if came.is_whole and 200 <= came.status < 300:
            message.home.delivered(message, came.status)
        else:
            message.home.failed(message, out.answered(came, self._clock.now_us()))
        await self._until_stored(out.session, is_needless)
        return True

    async def _until_stored(self, session: Session, is_needless: asyncio.Event) -> None:
        """Until then it takes its share: a disk that stands still must not fill the memory."""
        session.storing += 1
        try:
            await is_needless.wait()
        finally:
            session.storing -= 1
            self._call(session)

    def give_up(self, application: str, session: str, request_id: str) -> bool:
        """See `Sessions`."""
        out = self._take(application, session, request_id)
        if out is None:
            return False
        why = "no response: the client of the session could not reach the application"
        result = out.failed(Failure.CONNECTION, why, self._clock.now_us())
        out.message.home.failed(out.message, result)
        return True

    # What is to be fetched.

    def can_be_pulled(self, lane: str) -> None:
        """See `Lanes`."""
        session = self._sessions.get(lane)
        if session is not None:
            self._call(session)

    def deliver(self, message: Message) -> None:
        """Hand it to who has waited for longest; where nobody does any more, it is taken back."""
        message = cast(RunMessage, message)
        session = self._sessions.get(message.place.lane.name)
        poller = None
        if session is not None:
            session.pulled.discard(message.place)
            poller = next(iter(session.pollers), None)
        if session is None or poller is None:
            self._loop.call_soon(message.take_back)
            if session is not None:
                self._forget_if_idle(session)
            return
        del session.pollers[poller]
        out = self._hand_over(message, session)
        head = b"%bX-Dispatcher-Message-Id: %b\r\nX-Dispatcher-Attempt: %d\r\n\r\n" % (
            message.head,
            message.wire_id,
            message.attempt,
        )
        poller.set_result(Fetched(out.id, head, message.body))
        message.body = b""  # whatever comes of it, it is made anew

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """See `Deliverer`."""
        for session in self._sessions.values():
            for out in session.out.values():
                if out.message.wire_id == message_id:
                    return out.message.started_at, out.timeout_ms
        return None

    def _hand_over(self, message: RunMessage, session: Session) -> Out:
        timeout_ms = message.timeout_ms  # at most limits.MOST_FETCHED_MS
        out = Out(
            self._make_id(),
            message,
            session,
            since_us=self._clock.now_us(),
            timeout_ms=timeout_ms,
        )
        out.timer = self._loop.call_later(timeout_ms / 1000, self._time_out, out)
        session.out[out.id] = out
        return out

    def _time_out(self, out: Out) -> None:
        del out.session.out[out.id]
        self._call(out.session)
        why = f"{out.timeout_ms} ms passed, and the client of the session had not answered"
        result = out.failed(Failure.TIMEOUT, why, self._clock.now_us())
        out.message.home.failed(out.message, result)

    def _take(self, application: str, session: str, request_id: str) -> Out | None:
        """A request that is out; it is so no more."""
        found = self._sessions.get(pulled_lane(session, application))
        out = None if found is None else found.out.pop(request_id, None)
        if found is None or out is None:
            return None
        assert out.timer is not None
        out.timer.cancel()
        self._call(found)
        return out

    # Sessions.

    def _session(self, lane: str) -> Session:
        session = self._sessions.get(lane)
        if session is None:
            session = self._sessions[lane] = Session(lane)
        return session

    def _call(self, session: Session) -> None:
        """Look at it soon: lanes and runs are in the middle of something."""
        if not session.is_called:
            session.is_called = True
            self._loop.call_soon(self._look, session)

    def _look(self, session: Session) -> None:
        session.is_called = False
        self._serve(session)
        self._forget_if_idle(session)

    def _serve(self, session: Session) -> None:
        """Pull a call for everybody who polls, as far as there are some."""
        gone = [place for place in session.pulled if place.at is not At.RUNNING]
        session.pulled.difference_update(gone)  # they are not run after all
        while session.wants(self._most_out):
            place = self._turns.pull(session.lane)
            if place is None:
                return
            if place.at is At.RUNNING:
                session.pulled.add(place)

    def _forget_if_idle(self, session: Session) -> None:
        if session.is_idle and self._sessions.get(session.lane) is session:
            del self._sessions[session.lane]

"""What an application asks its server for: one conversation for each kind of question."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from google.protobuf.message import DecodeError

from dispatcher.protocol.connect import VERSION, VERSION_HEADER, Encoding
from dispatcher.protocol.messages import CallResult, DispatchResponse
from dispatcher.protocol.statuses import Status
from dispatcher.sdk.client.calls import check_key, dispatched
from dispatcher.sdk.client.errors import (
    AlreadyCompleted,
    CallUnknown,
    ClientError,
    NotEnded,
    ResultGone,
)
from dispatcher.sdk.client.exchange import Conversation, Pause, Reply, Request
from dispatcher.sdk.client.information import (
    CallInfo,
    CallPage,
    read_info,
    read_page,
    unreadable,
)
from dispatcher.sdk.client.outcome import Named, endpoint_of, failed, given
from dispatcher.sdk.client.refusals import refusal, slug
from dispatcher.sdk.client.server import Server
from dispatcher.sdk.client.trying import Tries, answered
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.replay.model import NOTHING, Result
from dispatcher.sdk.wire import call_result_of, result_of

_SOON_S: Final = 20.0
WAIT_S: Final = 30
"""For how long the server is asked to wait: proxies give up after 60 s."""

_PROTO: Final = Encoding.PROTO.value
_DISPATCH: Final = "/dispatch.sdk.v1.DispatchService/Dispatch"
_OUTSIDE: Final = {"promise": "/v1/promises/", "channel": "/v1/channels/"}


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks one server. `endpoint` is where calls go that name none: the application's own."""

    server: Server
    tries: Tries
    endpoint: str = ""

    def dispatch(self, calls: Sequence[BuiltCall[Any]], key: str) -> Conversation[list[str]]:
        """Make calls, all or none; returns their ids. The same `key` again makes no others.

        Raises:
            CallsRefused: they can't be sent.
            ClientError: the server did not take them, or nobody knows whether it did.
        """
        if not calls:
            return []
        check_key(key)
        body = dispatched(calls, self.endpoint)
        headers = {
            "Content-Type": _PROTO,
            VERSION_HEADER: VERSION,
            "Idempotency-Key": key,
        }
        reply = yield from self._answer(Request("POST", _DISPATCH, headers, body))
        if reply.status != 200:
            raise refusal(self.server, reply)
        ids = list(_message(DispatchResponse, reply.body).dispatch_ids)
        if len(ids) != len(calls):
            raise unreadable("an id for each call")
        return ids

    def result(self, call_id: str, timeout_s: float | None) -> Conversation[Result]:
        """Wait for the result of a call, `timeout_s` seconds at most, None: as long as it takes.

        Raises:
            NotEnded: it is not there yet.
            CallUnknown, ResultGone: there is none.
            ClientError: the server can't be asked.
        """
        now_s = self.tries.now_s
        ends_s = None if timeout_s is None else now_s() + timeout_s
        while True:
            began_s = now_s()
            left_s = float(WAIT_S) if ends_s is None else max(ends_s - began_s, 0.0)
            wait_s = min(left_s, WAIT_S)
            tries = self.tries
            if ends_s is not None:
                tries = replace(tries, patience_s=min(left_s, tries.patience_s))
            reply = yield from answered(self.server, _waiting(call_id, wait_s), tries)
            if reply.status == 200:
                return result_of(_message(CallResult, reply.body))
            if reply.status != 202:
                raise self._no_result(call_id, reply)
            if ends_s is not None and now_s() >= ends_s - 0.001:
                raise _not_ended(call_id, timeout_s)
            if now_s() - began_s < wait_s / 2:  # it stops: others would ask without end
                yield Pause(0.2)

    def info(self, call_id: str) -> Conversation[CallInfo]:
        """Look at one call."""
        reply = yield from self._answer(Request("GET", f"{_path_of(call_id)}?tree=false"))
        if reply.status != 200:
            raise self._unknown(call_id, reply)
        return read_info(reply.body)

    def calls(
        self,
        *,
        state: str | None = None,
        function: str | None = None,
        endpoint: str | None = None,
        roots: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Conversation[CallPage]:
        """Look at those that match all that is said, the newest first."""
        named = {"state": state, "function": function, "endpoint": endpoint, "cursor": cursor}
        query = {name: value for name, value in named.items() if value is not None}
        query |= {"limit": str(limit), "roots": "true" if roots else "false"}
        reply = yield from self._answer(Request("GET", f"/v1/calls?{urlencode(query)}"))
        if reply.status != 200:
            raise refusal(self.server, reply)
        return read_page(reply.body)

    def cancel(self, call_id: str, *, kill: bool) -> Conversation[None]:
        """Ask a call to end; one that has ended stays as it is."""
        mode = "kill" if kill else "cancel"
        reply = yield from self._answer(Request("DELETE", f"{_path_of(call_id)}?mode={mode}"))
        if reply.status != 202 and slug(reply) != "call_ended":
            raise self._unknown(call_id, reply)

    def resolve(
        self, promise: str | Named, value: object, application: str | None
    ) -> Conversation[None]:
        """`complete` a promise with a value. Raises EncodeError, too."""
        return self.complete(endpoint_of("promise", promise), given(value), application)

    def reject(
        self, promise: str | Named, error: BaseException | str, application: str | None
    ) -> Conversation[None]:
        """`complete` a promise with an error."""
        return self.complete(endpoint_of("promise", promise), failed(error), application)

    def send(
        self, channel: str | Named, value: object, application: str | None
    ) -> Conversation[None]:
        """`complete` with a value for a channel. Raises EncodeError, too."""
        return self.complete(endpoint_of("channel", channel), given(value), application)

    def complete(
        self, endpoint: str, result: Result, application: str | None = None
    ) -> Conversation[None]:
        """Give a result to `promise:NAME`, or one to `channel:NAME`. `application` is the name of
        the API key whose it is, for operators. A promise that has the same result since a try of
        this whose answer was lost is completed.

        Raises:
            AlreadyCompleted: the promise has a result.
            ClientError: the server did not take it, or nobody knows whether it did.
        """
        kind, _, name = endpoint.partition(":")
        query = "" if application is None else f"?{urlencode({'application': application})}"
        is_promise = kind == "promise"
        request = Request(
            "POST",
            f"{_OUTSIDE[kind]}{quote(name, safe='')}{query}",
            {"Content-Type": _PROTO},
            call_result_of(result).SerializeToString(),
            is_repeatable=is_promise,
        )
        reply = yield from self._answer(request)
        if slug(reply) == "promise_completed":
            is_own = reply.is_of_retry and application is None
            if is_own and (yield from self._has(endpoint, result)):
                return
            raise AlreadyCompleted(
                f"Promise {name} was completed before, and that counts.",
                code="promise_completed",
                http_status=reply.status,
            )
        if reply.status != 204:
            raise refusal(self.server, reply)

    def complete_again(self, endpoint: str, result: Result) -> Conversation[None]:
        """`complete` by who may have done it before and does not know: a promise that has the same
        result is completed.

        Raises:
            AlreadyCompleted: the promise has another result.
            ClientError: as `complete`.
        """
        try:
            yield from self.complete(endpoint, result)
        except AlreadyCompleted:
            if not (yield from self._has(endpoint, result)):
                raise

    def _has(self, endpoint: str, result: Result) -> Conversation[bool]:
        """Whether a promise that is completed has this result, as far as one can know."""
        wait: BuiltCall[Any] = BuiltCall(endpoint.partition(":")[0], NOTHING, "", endpoint)
        try:
            (call_id,) = yield from self.dispatch([wait], secrets.token_hex(16))
            return (yield from self.result(call_id, _SOON_S)) == result
        except ClientError:
            return False

    def _answer(self, request: Request) -> Conversation[Reply]:
        return answered(self.server, request, self.tries)

    def _no_result(self, call_id: str, reply: Reply) -> ClientError:
        if slug(reply) != "result_expired":
            return self._unknown(call_id, reply)
        return ResultGone(
            f"Call {call_id} has ended and its result is gone: it is kept for RESULT_RETENTION, "
            "and that of a call that another one made goes there alone.",
            status=Status.NOT_FOUND,
            code="result_expired",
            http_status=reply.status,
        )

    def _unknown(self, call_id: str, reply: Reply) -> ClientError:
        code = slug(reply)
        if code not in ("call_unknown", "id_invalid"):
            return refusal(self.server, reply)
        return CallUnknown(
            f"{self.server.url} knows no call {call_id[:60]}: it never was, is another "
            "application's, or ended long ago.",
            status=Status.NOT_FOUND,
            code=code,
            http_status=reply.status,
        )


def _path_of(call_id: str) -> str:
    return f"/v1/calls/{quote(call_id, safe='')}"


def _waiting(call_id: str, wait_s: float) -> Request:
    wait = f"{round(wait_s * 1000)}ms" if wait_s < WAIT_S else f"{WAIT_S}s"
    return Request(
        "GET",
        f"{_path_of(call_id)}/result?wait={wait}",
        {"Accept": _PROTO},
        within_s=wait_s + 10,
        is_waiting=True,
    )


def _not_ended(call_id: str, timeout_s: float | None) -> NotEnded:
    return NotEnded(
        f"Call {call_id} has not ended in {timeout_s:g} s. It goes on: ask for its result again.",
        status=Status.TIMEOUT,
        code="not_ended",
    )


def _message(kind: Any, body: bytes) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise unreadable(f"a {kind.DESCRIPTOR.name}") from error

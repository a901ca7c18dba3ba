"""The records in a stream of NATS JetStream that keeps the last message of each subject: a bucket,
in the words of NATS. `nats kv get dispatcher p.0` shows a record.

A revision is the message's number in the stream. The server that leads the stream compares it when
it stores, so what any look says may be old without harm; but a poll that is answered by a server
which lags behind would find owners late who are not. So what many keys say is read from any server
and taken if that one is as far as the leader; else, and for few keys, the leader itself is asked.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from dispatcher.cluster.store import Conflict, Entry, NoVerdict, Stop
from dispatcher.errors import LogBusy
from dispatcher.txlog.nats.answers import NO_MESSAGE, NOT_AS_EXPECTED, ApiError, parse
from dispatcher.txlog.nats.asking import Asking, Patience
from dispatcher.txlog.nats.link import Answer, Link, Silence

BUCKET: Final = "KV_dispatcher"
_SUBJECTS: Final = "$KV.dispatcher."
_PATIENCE: Final = Patience(ask_s=0.5, append_s=0.75, again_s=0.02, open_s=0.7)
"""Whoever asks asks again, and by then needs the answer to another question."""
_FEW: Final = 4
"""So many keys are asked for one by one, of the leader: then nobody has to ask how far it is."""
_TOGETHER: Final = 512
"""Of so many subjects the last messages are asked for at once; servers refuse 1024 and more."""
_AT_ONCE: Final = 32
"""Requests for single records that are under way together."""


def _configuration(replicas: int) -> dict[str, object]:
    return {
        "name": BUCKET,
        "subjects": [f"{_SUBJECTS}>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": 1,
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": True,
    }


class NatsStore:
    """A `LeaseStore`. Its stream has to be `made` once by one of those who use it."""

    def __init__(self, link: Link, *, replicas: int = 3, patience: Patience = _PATIENCE) -> None:
        self._link = link
        self._patience = patience
        self._asking = Asking(link, BUCKET, patience)
        self._configuration = _configuration(replicas)

    async def made(self, first: Callable[[], Awaitable[int]] | None = None) -> None:
        """Make the stream where there is none; its revisions begin with what `first` returns, else
        with 1.

        Raises:
            LogBusy: its servers do not answer, or have no leader now.
            LogUnavailable: they have no space for it.
            ConfigError: a stream of that name is something else.
            Exception: what `first` raised.
        """
        await self._asking.made(self._configuration, first)

    async def look(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See the seam."""
        if len(keys) <= _FEW:
            return await self._each(keys)
        last = await self._last()
        found: dict[str, Entry] = {}
        for begin in range(0, len(keys), _TOGETHER):
            some = keys[begin : begin + _TOGETHER]
            entries = await self._together(some, last)
            found |= await self._each(some) if entries is None else entries
        return found

    async def _last(self) -> int:
        """The number of the last message that the leader has."""
        fields = await self._asking.asked("INFO", {})
        if isinstance(fields, ApiError):
            raise self._refused(fields)
        return int(fields["state"]["last_seq"])

    async def _together(self, keys: Sequence[str], last: int) -> dict[str, Entry] | None:
        """What a server says that has all messages up to `last`; None: it has not, or says
        nothing."""
        asked = json.dumps({"multi_last": [_SUBJECTS + key for key in keys]}).encode()
        subject = f"$JS.API.DIRECT.GET.{BUCKET}"
        try:
            *answers, end = await self._link.gather(subject, asked, timeout_s=self._patience.ask_s)
        except Silence:
            return None
        # It says how far it is only with something that it found.
        if int(end.headers.get("Nats-UpTo-Sequence", -1)) < last:
            return None
        return dict(_entry_of(answer) for answer in answers)

    async def _each(self, keys: Sequence[str]) -> dict[str, Entry]:
        """What the leader says, key by key."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> Entry | None:
            async with turns:
                return await self._one(key)

        found = await asyncio.gather(*map(one, keys))
        return {key: entry for key, entry in zip(keys, found, strict=True) if entry is not None}

    async def _one(self, key: str) -> Entry | None:
        fields = await self._asking.asked("MSG.GET", {"last_by_subj": _SUBJECTS + key})
        if isinstance(fields, ApiError):
            if fields.code == NO_MESSAGE:
                return None
            raise self._refused(fields)
        message = fields["message"]
        return Entry(int(message["seq"]), base64.b64decode(message.get("data", "")))

    def _refused(self, error: ApiError) -> LogBusy:
        """The bucket is not as it was made: whoever looks can do nothing but look again."""
        return LogBusy(str(self._asking.refusal(error)))

    async def put(self, key: str, value: bytes, *, after: int) -> int:
        """See the seam. Asked once: a request that got lost may be stored as long as the record is
        what it replaces, so whoever asks again has to look first."""
        headers = {
            "Nats-Expected-Stream": BUCKET,
            "Nats-Expected-Last-Subject-Sequence": str(after),
        }
        try:
            answer = await self._link.request(
                _SUBJECTS + key, value, headers=headers, timeout_s=self._patience.append_s
            )
        except Silence as error:
            raise NoVerdict(f"{key}: {error}") from error
        return _revision(key, parse(answer.data))

    async def listen(self, heard: Callable[[str, bytes], None]) -> Stop:
        """See the seam. The very publishes are listened to: that costs the servers nothing."""

        def hear(subject: str, data: bytes) -> None:
            heard(subject.removeprefix(_SUBJECTS), data)

        try:
            return await self._link.listen(f"{_SUBJECTS}>", hear)
        except Silence as error:
            raise LogBusy(f"the NATS servers do not answer now: {error}") from error


def _entry_of(answer: Answer) -> tuple[str, Entry]:
    key = answer.headers["Nats-Subject"].removeprefix(_SUBJECTS)
    return key, Entry(int(answer.headers["Nats-Sequence"]), answer.data)


def _revision(key: str, fields: Mapping[str, Any] | ApiError | None) -> int:
    if isinstance(fields, ApiError):  # it has a number too, which is none
        if fields.code in NOT_AS_EXPECTED:
            raise Conflict(f"{key}: {fields.why}")
        raise NoVerdict(f"{key}: {fields.why} ({fields.code})")
    if fields is None or not isinstance(fields.get("seq"), int):
        raise NoVerdict(f"{key}: the servers answer something else")
    return int(fields["seq"])

"""The surfaces where ingress and delivery meet the queue (and `core.message.Home`, which a message
carries).

All calls are plain synchronous calls on the event loop's thread: nothing here is awaited, because
the hot path makes no task and no future per message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from dispatcher.core.answer import Answer
from dispatcher.core.meeting import Keys
from dispatcher.core.message import Message
from dispatcher.core.outcome import AttemptResult
from dispatcher.errors import DispatcherError, Refusal


class Receipt(Protocol):
    """Who wants to know that a message is durable: the caller's connection."""

    def accepted(self, message: Message) -> None:
        """The message is durable; its `wire_id` is set."""

    def duplicate(self, message_id: bytes) -> None:
        """Nothing was stored: the message with this id has the same idempotency key, and the same
        was asked for."""

    def refused(self, refusal: Refusal) -> None:
        """The message was not accepted."""


class GroupReceipt(Protocol):
    """Who wants to know that all messages of a group are durable."""

    def accepted_all(self, messages: Sequence[Message]) -> None:
        """All are durable; each has its `wire_id`."""

    def duplicate_all(self, message_ids: Sequence[bytes]) -> None:
        """Nothing was stored: the messages with these ids have the same idempotency key, and the
        same was asked for."""

    def refused(self, refusal: Refusal) -> None:
        """None of them was accepted."""


class Upload(Protocol):
    """A body too large to hold, on its way into the log as chunk records."""

    @property
    def unstored_bytes(self) -> int:
        """Bytes given to `write` that are not durable yet; the caller's socket is paused on it."""

    def write(self, chunk: bytes) -> None:
        """Append one chunk record (at most `CHUNK_BYTES`). Each time a chunk became durable, and
        when one was refused, the `on_progress` callback given at the start is called."""

    @property
    def refusal(self) -> Refusal | None:
        """Why a chunk could not be stored; the upload is dead then and has to be aborted."""

    def abort(self) -> None:
        """The caller went away or was refused: what was written is dead bytes. Idempotent."""


class Waiter(Protocol):
    """Who waits for what becomes of a message: the caller's connection. One of these is called, at
    most once."""

    def ended(self, answer: Answer | None, error: str | None) -> None:
        """It was delivered, or given up (`error` is the slug of why, and its dead letter durable).
        `answer` is the destination's, None where there was none, or half of one; whoever gets it
        calls its `release`."""

    def undecided(self) -> None:
        """An attempt ended, and there will be another one."""


class Acceptor(Protocol):
    """What ingress needs from the queue.

    `spreads_keys` says that messages with a key may be answered before those that came before them,
    or after those that came later. A `place` says what such a message has to meet others at
    (`core.placing`), b"" for one without a key, and by which `keys` (`core.meeting`).
    """

    @property
    def spreads_keys(self) -> bool:
        """Asked once."""

    def refusal(self) -> Refusal | None:
        """Why no message is accepted now (shutting down, disk full, backlog full), else None."""

    def accept(self, message: Message, receipt: Receipt, upload: Upload | None = None) -> None:
        """Store a message; exactly one method of `receipt` is called, later or before this returns.

        Receipts are called in the order of `accept`; those of messages with an idempotency key may
        be called before others. With `upload`, the body is what was written to
        it (`message.body` is b"" and `message.body_size` the sum), and the upload is used up.
        """

    def start_upload(
        self, on_progress: Callable[[], None], place: bytes = b"", keys: Keys = ()
    ) -> Upload:
        """Begin a large body of a message for this place, with these keys."""

    def await_end(self, message: Message, waiter: Waiter) -> None:
        """Tell what becomes of a message that is being accepted: to be called within
        `Receipt.accepted`. It has to want its answer (`Message.want_start`)."""

    def forget(self, message_id: bytes) -> None:
        """Nobody waits for this message any more. Idempotent."""

    def accept_all(
        self,
        messages: Sequence[Message],
        receipt: GroupReceipt,
        upload: Upload | None = None,
        place: bytes = b"",
    ) -> None:
        """Store these messages, which have one body, all of them or none; exactly one method of
        `receipt` is called, later or before this returns, and perhaps after the receipts of what
        was accepted later. `upload` is one of `start_uploads`, and is used up; `place` is where all
        of them are looked for."""

    def start_uploads(
        self,
        on_progress: Callable[[], None],
        *,
        copies: int,
        head_bytes: int,
        place: bytes = b"",
        keys: Keys = (),
    ) -> Upload:
        """Begin a large body of so many messages, which have so many bytes of heads together."""


class BodyUnavailable(DispatcherError):
    """A part of a body cannot be read back. `passing`: for the moment, ask again; otherwise never,
    and the partition of the message ends."""

    slug = "body_unavailable"

    def __init__(self, why: str, *, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


CHUNK_BYTES = 256 * 1024
"""A body above this many bytes is streamed, and its chunk records are at most this large."""


class Deliverer(Protocol):
    """What the queue needs from delivery."""

    def deliver(self, message: Message) -> None:
        """Start the attempt `message.attempt`; `message.home` is told how it ended, never before
        this returns."""

    def under_way(self, message_id: bytes) -> tuple[int, int] | None:
        """When the attempt of a message started (`Message.started_at`), and after how many
        milliseconds it times out; None when none is under way."""


class LogName(Enum):
    """Which log: one of the queue's two, or the results' of function calls."""

    TRANSACTION = "transaction"
    DEAD_LETTER = "dead_letter"
    RESULTS = "results"


class Observer(Protocol):
    """Who writes down what happens in the queue: one call an event.

    `accepted` and `delivered` are called only where `is_debug` is True: what goes well is not
    written down otherwise, and costs nothing.
    """

    @property
    def is_debug(self) -> bool:
        """Whether what goes well is written down; asked once."""

    def accepted(self, message: Message) -> None:
        """A message is durable."""

    def delivered(self, message: Message, status: int, duration_ms: int) -> None:
        """A message is done."""

    def attempt_failed(
        self, message: Message, result: AttemptResult, retry_at_us: int | None
    ) -> None:
        """An attempt was not a success; None: there is no other."""

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """A message was given up; its dead letter is durable."""

    def call_dead_lettered(
        self,
        call_id: bytes,
        endpoint: str,
        function: str,
        *,
        attempts: int,
        reason: str,
        error: str | None,
    ) -> None:
        """A root call was given up; its dead letter is durable."""

    def letter_too_large(self, letter_id: bytes, destination: bytes, size_bytes: int) -> None:
        """A dead letter is not stored, as no record can hold so many bytes: its message, or call,
        is given up again after the next start."""

    def letters_dropped(self, count: int, why: str) -> None:
        """Dead letters were dropped, because of their `age` or of the `bytes` of all of them."""

    def keys_dropped(self, count: int) -> None:
        """Idempotency keys were forgotten before their window was over, on a full disk without
        space to keep them: the same requests again would be stored again."""

    def lane_backed_off(
        self, destination: str, until_us: int, why: str, result: AttemptResult
    ) -> None:
        """Nothing is sent to a destination until then (`breaker` or `retry_after`); `result` is of
        the attempt that was followed by that."""

    def lane_reopened(self, destination: str) -> None:
        """A destination that was left alone answers again."""

    def body_lost(self, log: LogName, message_id: bytes, destination: bytes) -> None:
        """A message of a log that was repaired has lost a part of its body, and is passed over."""

    def space_changed(self, log: LogName, full: bool) -> None:
        """The disk of a log became full, or has space again."""

    def partition_lost(self, partition: int, error: Exception) -> None:
        """A partition's log is another node's now, or out of reach; the others go on."""

    def died(self, name: str, error: BaseException) -> None:
        """Work in the background, or who waited for a record, raised what nobody foresaw. It hurts
        nothing else; what is done again and again is tried again."""

    def log_slow(self, log: LogName, waiting_s: float) -> None:
        """A batch has been with a log for so many seconds: longer than a healthy disk takes."""

    def log_stalled(self, log: LogName, waiting_s: float) -> None:
        """A batch has been with a log for so many seconds that new callers are refused."""

    def log_moves(self, log: LogName, waited_s: float) -> None:
        """The log that was stalled has answered, after at least so many seconds."""

    def log_failed(self, log: LogName, error: Exception) -> None:
        """A log can't be written or read any more: the process must end."""


class Watcher(Protocol):
    """Who is told what happens to messages: the observer, and operators who watch live.

    `accepted` and `delivered` are called only while `is_wanted`.
    """

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to know of messages that go well."""

    def accepted(self, message: Message) -> None:
        """A message is durable."""

    def delivered(self, message: Message, status: int, duration_ms: int) -> None:
        """A message is done."""

    def attempt_failed(
        self, message: Message, result: AttemptResult, retry_at_us: int | None
    ) -> None:
        """An attempt was not a success; None: there is no other."""

    def dead_lettered(self, message: Message, reason: str, result: AttemptResult) -> None:
        """A message was given up; its dead letter is durable."""

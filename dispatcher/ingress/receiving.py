"""A request whose body is under way: its head is read, and its end is still to come."""

from __future__ import annotations

from collections.abc import Callable

from dispatcher.ingress.body import Body, Uploads
from dispatcher.ingress.forward import Forward
from dispatcher.ingress.pace import Pace
from dispatcher.ingress.refusals import UnacceptableError
from dispatcher.ingress.shared import Shared
from dispatcher.queue.ports import Acceptor, Upload


class Receiving:
    """One such request: the `style` of its answer, what is `wanted` of it, its `body` so far, and
    the `pace` at which that arrives. `length` is the body's in bytes, or CHUNKED.

    `on_progress` is called when the log took a piece of the body or refused one; then the body is
    to be recounted.
    """

    __slots__ = ("_shared", "body", "pace", "style", "wanted")

    def __init__(
        self,
        shared: Shared,
        style: int,
        length: int,
        wanted: Forward,
        on_progress: Callable[[], None],
    ) -> None:
        self.style = style
        self.wanted = wanted
        self.pace = Pace(shared.config.body_timeout_s, shared.clock())
        uploads: Uploads = shared.acceptor
        if wanted.group:
            uploads = _ForAll(shared.acceptor, wanted)
        elif shared.spreads_keys and wanted.place:
            uploads = _Keyed(shared.acceptor, wanted)
        self.body = Body(
            uploads,
            shared.memory,
            on_progress=on_progress,
            length=length,
            max_body=shared.max_body,
            printer=wanted.begin_print() if wanted.options.idempotency_key else None,
        )
        self._shared = shared

    def finish(self) -> tuple[bytes, Upload | None]:
        """End the body: either all its bytes, or the upload that has them. What is in memory is
        counted until `body.held` is over.

        Raises:
            UnacceptableError: it is not wanted any more; it was given up.
        """
        content, upload = self.body.finish()
        refusal = None if upload is None else upload.refusal
        if refusal is None and self._shared.stopping:
            # The head came before the stop. Stored now, it would wait for the next start.
            refusal = self._shared.acceptor.refusal()
        if refusal is not None:
            if upload is not None:
                upload.abort()
            raise UnacceptableError(refusal)
        return content, upload


class _ForAll:
    """Large bodies for the members of a group (`body.Uploads`)."""

    __slots__ = ("_acceptor", "_wanted")

    def __init__(self, acceptor: Acceptor, wanted: Forward) -> None:
        self._acceptor = acceptor
        self._wanted = wanted

    def start_upload(self, on_progress: Callable[[], None]) -> Upload:
        """Begin the body of all their messages."""
        heads = [len(one.head) for one in (self._wanted, *self._wanted.others)]
        return self._acceptor.start_uploads(
            on_progress,
            copies=len(heads),
            head_bytes=sum(heads),
            place=self._wanted.place,
            keys=self._wanted.keys,
        )


class _Keyed:
    """Large bodies of messages with a key (`body.Uploads`)."""

    __slots__ = ("_acceptor", "_wanted")

    def __init__(self, acceptor: Acceptor, wanted: Forward) -> None:
        self._acceptor = acceptor
        self._wanted = wanted

    def start_upload(self, on_progress: Callable[[], None]) -> Upload:
        """Begin one."""
        return self._acceptor.start_upload(on_progress, self._wanted.place, self._wanted.keys)

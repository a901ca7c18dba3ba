"""Gathers the body of one request: small ones in memory, large ones into the log as they arrive.

Memory for one body is bounded: what waits to be stored is at most `_MAX_UNSTORED_BYTES` and one
chunk, because the connection stops reading while `congested`, and what waits to become a chunk is
less than one. Memory for all of them together is too: both are counted in a `Held`, and a body
that would grow where there is no room is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from dispatcher.core.idempotency import Printer
from dispatcher.errors import Refusal
from dispatcher.ingress import refusals
from dispatcher.ingress.chunked import ChunkedDecoder
from dispatcher.ingress.head import CHUNKED
from dispatcher.ingress.memory import Held, Memory
from dispatcher.ingress.refusals import UnacceptableError
from dispatcher.ingress.turn import Turn
from dispatcher.queue.ports import CHUNK_BYTES, Upload

_MAX_UNSTORED_BYTES: Final = 2 * CHUNK_BYTES


class Uploads(Protocol):
    """Where large bodies are stored; `ports.Acceptor` is such a place."""

    def start_upload(self, on_progress: Callable[[], None]) -> Upload:
        """Begin a large body."""


class Body:
    """A body on its way in. `size` is the number of its bytes taken so far, codings removed.

    `length` is what the head said, or CHUNKED; `on_progress` is called when the log took a piece or
    refused one, and has to call `recount`. `held` counts what is in memory; with `finish` it goes
    to whoever takes the body over. `printer` takes the print of what arrives, where that is wanted.
    """

    __slots__ = (
        "_decoder",
        "_length",
        "_max_body",
        "_on_progress",
        "_unsent",
        "_upload",
        "_uploads",
        "held",
        "printer",
        "size",
    )

    def __init__(
        self,
        uploads: Uploads,
        memory: Memory,
        *,
        on_progress: Callable[[], None],
        length: int,
        max_body: int,
        printer: Printer | None = None,
    ) -> None:
        self._uploads = uploads
        self._on_progress = on_progress
        self._length = length
        self._max_body = max_body
        self._decoder = ChunkedDecoder() if length == CHUNKED else None
        self._unsent = bytearray()
        self._upload: Upload | None = None
        self.held = Held(memory)
        self.printer = printer
        self.size = 0

    @property
    def is_whole(self) -> bool:
        """Whether its last byte was taken."""
        return self.size == self._length if self._decoder is None else self._decoder.done

    @property
    def congested(self) -> bool:
        """Whether the log is behind: nothing more should be read until the next progress."""
        upload = self._upload
        return upload is not None and upload.unstored_bytes >= _MAX_UNSTORED_BYTES

    @property
    def refusal(self) -> Refusal | None:
        """Why the body cannot be stored, or None."""
        return None if self._upload is None else self._upload.refusal

    def take(self, data: bytes, start: int, turn: Turn) -> int:
        """Take the next bytes of the connection, `data[start:]`; return where it stopped: after the
        body's last byte, or where the turn was over.

        Raises:
            RequestError: the chunks are malformed, or more than the most that is allowed, or there
                is no memory for them.
        """
        decoder = self._decoder
        if decoder is None:
            end = min(start + self._length - self.size, len(data))
            self._write(data[start:end])
            return end
        content = decoder.feed(data, start, turn)
        if decoder.announced > self._max_body:
            raise UnacceptableError(refusals.body_too_large(self._max_body))
        self._write(content)
        return decoder.end

    def recount(self) -> None:
        """Count what is in memory now: what waits to be a chunk, and chunks not durable yet."""
        upload = self._upload
        unstored = 0 if upload is None else upload.unstored_bytes
        self.held.set(len(self._unsent) + unstored)

    def finish(self) -> tuple[bytes, Upload | None]:
        """End the body: either all its bytes, or the upload that has them. The body is used up."""
        upload, self._upload = self._upload, None
        if upload is None:
            return bytes(self._unsent), None
        if self._unsent:
            upload.write(bytes(self._unsent))
        self.held.set(upload.unstored_bytes)
        return b"", upload

    def abort(self) -> None:
        """Give the body up. Idempotent."""
        upload, self._upload = self._upload, None
        self._unsent = bytearray()
        self.held.end()
        if upload is not None:
            upload.abort()

    def _write(self, data: bytes | bytearray) -> None:
        if not self.held.grow(len(data)):
            raise UnacceptableError(refusals.MEMORY)
        self.size += len(data)
        self._unsent += data
        if self.printer is not None:
            self.printer.update(data)
        if self._upload is not None or len(self._unsent) > CHUNK_BYTES:
            self._send_chunks()
            self.recount()

    def _send_chunks(self) -> None:
        upload = self._upload
        if upload is None:
            upload = self._upload = self._uploads.start_upload(self._on_progress)
        unsent = self._unsent
        while len(unsent) >= CHUNK_BYTES and upload.refusal is None:
            with memoryview(unsent) as view:  # a slice of `unsent` would be a second copy
                chunk = bytes(view[:CHUNK_BYTES])
            upload.write(chunk)
            del unsent[:CHUNK_BYTES]

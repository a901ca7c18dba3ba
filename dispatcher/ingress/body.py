"""Gathers the body of one request: small ones in memory, large ones into the log as they arrive.

Memory for one body is bounded: what waits to be stored is at most `_MAX_UNSTORED_BYTES` and one
chunk, because the connection stops reading while `congested`, and what waits to become a chunk is
less than one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.errors import Refusal
from dispatcher.ingress import refusals
from dispatcher.ingress.chunked import ChunkedDecoder
from dispatcher.ingress.head import CHUNKED
from dispatcher.ingress.refusals import UnacceptableError
from dispatcher.queue.ports import CHUNK_BYTES, Acceptor, Upload

_MAX_UNSTORED_BYTES: Final = 2 * CHUNK_BYTES


class Body:
    """A body on its way in. `size` is the number of its bytes taken so far, codings removed.

    `length` is what the head said, or CHUNKED; `on_progress` is called when the log took a piece or
    refused one.
    """

    __slots__ = (
        "_acceptor",
        "_decoder",
        "_held",
        "_length",
        "_max_body",
        "_on_progress",
        "_upload",
        "size",
    )

    def __init__(
        self, acceptor: Acceptor, on_progress: Callable[[], None], length: int, max_body: int
    ) -> None:
        self._acceptor = acceptor
        self._on_progress = on_progress
        self._length = length
        self._max_body = max_body
        self._decoder = ChunkedDecoder() if length == CHUNKED else None
        self._held = bytearray()
        self._upload: Upload | None = None
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

    def take(self, data: bytes) -> bytes:
        """Take the next bytes of the connection; return those that follow the body.

        Raises:
            RequestError: the chunks are malformed, or more than the most that is allowed.
        """
        if self._decoder is None:
            owed = self._length - self.size
            self._write(data[:owed])
            return data[owed:]
        content = self._decoder.feed(data)
        if self._decoder.announced > self._max_body:
            raise UnacceptableError(refusals.body_too_large(self._max_body))
        self._write(content)
        return self._decoder.rest

    def finish(self) -> tuple[bytes, Upload | None]:
        """End the body: either all its bytes, or the upload that has them. The body is used up."""
        upload, self._upload = self._upload, None
        if upload is None:
            return bytes(self._held), None
        if self._held:
            upload.write(bytes(self._held))
        return b"", upload

    def abort(self) -> None:
        """Give the body up. Idempotent."""
        upload, self._upload = self._upload, None
        self._held = bytearray()
        if upload is not None:
            upload.abort()

    def _write(self, data: bytes | bytearray) -> None:
        self.size += len(data)
        held = self._held
        held += data
        if self._upload is None:
            if len(held) <= CHUNK_BYTES:
                return
            self._upload = self._acceptor.start_upload(self._on_progress)
        upload = self._upload
        while len(held) >= CHUNK_BYTES and upload.refusal is None:
            with memoryview(held) as view:  # a slice of `held` would be a second copy
                chunk = bytes(view[:CHUNK_BYTES])
            upload.write(chunk)
            del held[:CHUNK_BYTES]

"""A response that comes in one piece, as the body of something else. Pure.

It is read with the lenient reader: where the response was made by somebody's program, nothing is
gained by refusing what can be understood.
"""

from __future__ import annotations

from dispatcher.core.answer import Answer
from dispatcher.delivery.lenient import LenientReader
from dispatcher.delivery.progress import HEAD_BYTES, Progress

OVERHEAD_BYTES = 2 * HEAD_BYTES
"""What a head and chunks take beside a body, at most, as far as anybody would send."""


def read_response(data: bytes, most_bytes: int) -> Answer | str:
    """Read a complete HTTP/1.1 response. A string says why it is none.

    Where its body has more than `most_bytes` bytes, the answer is not whole. A body without a
    length goes on to the end. Interim responses are skipped.
    """
    pieces: list[bytes] = []
    reader = LenientReader(head=False, collect=pieces.append)
    progress = reader.feed(data)
    if progress is Progress.MORE:
        progress = reader.end(clean=True)
    if progress is Progress.BROKEN:
        return reader.problem
    content_type = next(iter(reader.fields.get(b"content-type", [])), b"")
    retry_after = next(iter(reader.fields.get(b"retry-after", [])), None)
    if sum(map(len, pieces)) > most_bytes:
        return Answer(reader.status, content_type, retry_after, b"", is_whole=False)
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return Answer(reader.status, content_type, retry_after, body)

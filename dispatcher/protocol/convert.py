"""A process of its own that makes a DispatchRequest in protobuf of one in JSON.

    python -m dispatcher.protocol.convert SECONDS BYTES < JSON > protobuf

Protobuf's JSON is read by Python code that takes seconds for the largest body, and many times its
size of memory. In another process it holds up nobody, and the system bounds both: SECONDS of the
processor, BYTES of address space. It ends with `DONE`; with `REFUSED` where the body is none, and
what is wrong with it on standard output; or otherwise, where it needed more than it may have.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from dispatcher.protocol.connect import ConnectError
from dispatcher.protocol.jsonform import from_json
from dispatcher.protocol.messages import DispatchRequest

DONE: Final = 0
REFUSED: Final = 3
LACKING: Final = 4


def main(arguments: list[str]) -> int:
    """Convert standard input; returns the exit code."""
    seconds, size = map(int, arguments)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # where memory is short, this is what the system is to end, not others
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        said, code = _converted(sys.stdin.buffer.read())
    except MemoryError:
        return LACKING
    sys.stdout.buffer.write(said)
    return code


def _converted(body: bytes) -> tuple[bytes, int]:
    try:
        return from_json(DispatchRequest, body).SerializeToString(), DONE
    except ConnectError as error:
        if _is_lacking(error):
            raise MemoryError from error
        return error.message.encode("utf-8", "replace"), REFUSED


def _is_lacking(error: BaseException | None) -> bool:
    """Whether it comes from a lack of memory, which protobuf's JSON takes for a mistake in it."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A destination that reads every body to its end, however large: `python -m benchmarks.reader
PORT`.

nginx answers before it has read a large body, and the dispatcher need not send the rest then.
"""

from __future__ import annotations

import re
import socket
import sys
import threading

from benchmarks.process import HOST

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def main() -> None:
    """Serve until the process is ended."""
    with socket.create_server((HOST, int(sys.argv[1])), backlog=1024) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    """Answer the requests of one connection, one after the other."""
    buffer = bytearray(256 * 1024)
    data = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in data:
                received = connection.recv(65536)
                if not received:
                    return
                data += received
            head, _, data = data.partition(b"\r\n\r\n")
            match = _LENGTH.search(head + b"\r\n")
            missing = (int(match[1]) if match else 0) - len(data)
            data = data[missing + len(data) :] if missing < 0 else b""
            while missing > 0:
                count = connection.recv_into(buffer, min(missing, len(buffer)))
                if not count:
                    return
                missing -= count
            connection.sendall(_ANSWER)


if __name__ == "__main__":
    main()

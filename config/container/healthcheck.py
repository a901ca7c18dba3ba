"""Ask the server of this container whether it accepts messages. Exit code 0: it does, 1: not.

Usage: healthcheck.py [/readyz | /healthz]

The address is that of `LISTEN` in the environment, where the image sets it. A server with a
certificate is asked over TLS; whose it is does not matter, as nothing secret is said. Only the
standard library is used, as this is run every few seconds.
"""

import http.client
import os
import socket
import ssl
import sys

TIMEOUT_S = 4
UNIX = "unix:"
EVERYWHERE = ("", "0.0.0.0", "::")


class UnixConnection(http.client.HTTPConnection):
    """HTTP to the socket that LISTEN names."""

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect("/" + os.environ["LISTEN"].strip().removeprefix(UNIX).lstrip("/"))


def main(path: str = "/readyz") -> int:
    """Ask, and return the exit code."""
    listen = (os.environ.get("LISTEN") or ":80").strip()
    try:
        status, text = answer(listen, path)
    except (OSError, http.client.HTTPException) as error:
        print(f"{listen}: {error}")
        return 1
    print(status, text)
    return 0 if status == 200 else 1


def answer(listen: str, path: str) -> tuple[int, str]:
    """Ask a server with this `LISTEN`; return status and body."""
    if listen.startswith(UNIX):
        return ask(UnixConnection("localhost", timeout=TIMEOUT_S), path)
    host, port = address(listen)
    status, text = ask(http.client.HTTPConnection(host, port, timeout=TIMEOUT_S), path)
    if status != 400:
        return status, text
    # It speaks TLS: its certificate may be named in a file of settings too.
    context = ssl._create_unverified_context()
    return ask(http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context), path)


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    """Return status and body of the answer."""
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode("utf-8", "replace")


def address(listen: str) -> tuple[str, int]:
    """Return where a server with this `LISTEN` can be reached from its own host."""
    host, _, port = listen.strip().rpartition(":")
    host = host.strip("[]")
    return "127.0.0.1" if host in EVERYWHERE else host, int(port)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Ask the server of this container whether it accepts messages. Exit code 0: it does, 1: not.

Usage: healthcheck.py [/readyz | /healthz]

The address is that of `LISTEN` in the environment, where the image sets it. Only the standard
library is used, as this is run every few seconds.
"""

import http.client
import os
import sys

TIMEOUT_S = 4
EVERYWHERE = ("", "0.0.0.0", "::")


def main(path: str = "/readyz") -> int:
    """Ask, and return the exit code."""
    host, port = address(os.environ.get("LISTEN") or ":80")
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        print(response.status, response.read().decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        print(f"{host}:{port}: {error}")
        return 1
    return 0 if response.status == 200 else 1


def address(listen: str) -> tuple[str, int]:
    """Return where a server with this `LISTEN` can be reached from its own host."""
    host, _, port = listen.strip().rpartition(":")
    host = host.strip("[]")
    return "127.0.0.1" if host in EVERYWHERE else host, int(port)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

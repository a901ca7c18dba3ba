"""In the server's path: names that end with `.test` are this machine's, and nobody is asked.

Python imports a module of this name when it starts. Clients leave out a proxy for loopback, so the
tests need another name for it, and no name server may hear of that.
"""

import ipaddress
import socket
from typing import Any

_ask = socket.getaddrinfo


def _getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    if isinstance(host, str) and host.endswith(".test"):
        host = "127.0.0.1"
    elif host:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "not asked in a test") from None
    return _ask(host, *arguments, **options)


socket.getaddrinfo = _getaddrinfo

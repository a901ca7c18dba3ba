"""What a durable body may not ask its loop for: everything that reaches outside of it."""

from __future__ import annotations

import asyncio
from typing import Any


def _denied(what: str) -> Any:
    """A method of a loop that is refused. Those that asyncio has as coroutines raise when they are
    called, too: the line of the caller is on the stack then."""

    def method(self: DenyingLoop, *args: object, **kwargs: object) -> Any:
        return self.deny(what)

    return method


class DenyingLoop(asyncio.AbstractEventLoop):
    """The part of a loop that does I/O, each method refused with what it would have done."""

    def deny(self, what: str) -> Any:
        """Refuse `what`, "looks up the address of a host"."""
        raise NotImplementedError

    getaddrinfo = _denied("looks up the address of a host")
    getnameinfo = _denied("looks up the name of a host")
    create_connection = _denied("opens a connection")
    create_unix_connection = _denied("opens a connection")
    create_server = _denied("opens a server")
    create_unix_server = _denied("opens a server")
    connect_accepted_socket = _denied("takes a connection")
    create_datagram_endpoint = _denied("opens a socket")
    start_tls = _denied("begins TLS on a connection")
    sendfile = _denied("sends a file")
    sock_recv = _denied("reads from a socket")
    sock_recv_into = _denied("reads from a socket")
    sock_recvfrom = _denied("reads from a socket")
    sock_recvfrom_into = _denied("reads from a socket")
    sock_sendall = _denied("writes to a socket")
    sock_sendto = _denied("writes to a socket")
    sock_sendfile = _denied("writes to a socket")
    sock_connect = _denied("opens a connection")
    sock_accept = _denied("takes a connection")
    add_reader = _denied("waits for a socket or pipe")
    add_writer = _denied("waits for a socket or pipe")
    connect_read_pipe = _denied("opens a pipe")
    connect_write_pipe = _denied("opens a pipe")
    subprocess_exec = _denied("starts a process")
    subprocess_shell = _denied("starts a process")
    add_signal_handler = _denied("waits for a signal")
    run_in_executor = _denied("runs something in a thread")
    run_forever = _denied("runs an event loop")
    run_until_complete = _denied("runs an event loop")
    stop = _denied("stops the event loop")
    close = _denied("closes the event loop")
    set_task_factory = _denied("sets a factory of tasks")

    # What only undoes or sets what was refused above has nothing to do.

    def remove_reader(self, fd: Any) -> bool:
        return False

    def remove_writer(self, fd: Any) -> bool:
        return False

    def remove_signal_handler(self, sig: int) -> bool:
        return False

    def set_default_executor(self, executor: Any) -> None:
        pass

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self) -> None:
        pass

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def set_exception_handler(self, handler: Any) -> None:
        pass

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

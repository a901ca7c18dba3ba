"""What the person is told of the ends of processes, and of what does not seem to be meant. Pure."""

from __future__ import annotations

import signal


def command_ended(name: str, code: int, *, has_called: bool, rests: bool) -> str | None:
    """Say how a command has ended; None where that says nothing.

    Args:
        name: what its lines begin with.
        code: 128 + n for signal n.
        has_called: whether there was any call.
        rests: whether it is started anew when a file changes.
    """
    anew = ". It is started anew when a file changes" if rests else ""
    if code:
        early = "" if has_called else ", before it dispatched or ran a function"
        return f"{name} {_how(code if code <= 128 else 128 - code)}{early}{anew}."
    if not has_called:
        return (
            f"{name} ended without having dispatched or run a function: an application serves "
            f"until it is stopped, as with app.serve(){anew}."
        )
    return f"{name} has ended{anew}." if rests else None


def server_ended(code: int, stopped: str | None) -> str:
    """Say how a server has ended that should not have; `stopped` is the command that ends with
    it. `code` is negative for a signal."""
    then = "" if stopped is None else f"; {stopped} is stopped"
    return f"The server {_how(code)}{then}."


def nobody_listens(name: str, endpoint: str) -> str:
    """Say that runs find nobody."""
    return (
        f"Nobody listens at {endpoint}, where runs are sent. Does {name} listen on "
        "DISPATCH_ENDPOINT_ADDR, as app.serve() and `async with app.serving()` do? If it listens "
        "elsewhere, say where: --endpoint host:port."
    )


def has_not_ended(name: str) -> str:
    """Say that a command takes its time."""
    return f"{name} has not ended yet. Ctrl-C again kills it."


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

"""Signatures of commands that a decorator changes: typer reads a command's options from them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any


def signature_of(command: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters of a command, or of what it is decorated with, with their types."""
    return inspect.signature(command, eval_str=True)


def give_parameters(run: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> None:
    """Let `run` be called, and be read by typer, as if it had been defined with these."""
    # What `inspect.signature` reads, and typer by it; types of functions do not have it.
    signature = signature_of(run).replace(parameters=parameters)
    run.__signature__ = signature  # type: ignore[attr-defined]  # above
    run.__annotations__ = {one.name: one.annotation for one in parameters}

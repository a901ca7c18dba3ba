"""The names that applications import."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import dispatcher.sdk as dispatch

NAMES = sorted(dispatch.__all__)


def members(thing: Any) -> list[tuple[str, Any]]:
    """The methods and properties of a class that are the user's."""
    return [
        (name, value)
        for name, value in inspect.getmembers(thing)
        if not name.startswith("_")
        and (callable(value) or isinstance(value, property))
        and str(getattr(value, "__module__", None) or thing.__module__).startswith("dispatcher.sdk")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_public_name_says_what_it_is(name: str) -> None:
    """Its docstring is shown by the editor; so are those of its methods."""
    thing = getattr(dispatch, name)
    assert inspect.getdoc(thing), name
    for member, value in members(thing) if inspect.isclass(thing) else []:
        assert inspect.getdoc(value), f"{name}.{member}"


def test_names_are_all_there_is() -> None:
    """Nothing else is public by accident, but the modules of the package."""
    found = {
        name
        for name, value in vars(dispatch).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    modules = {name for name in NAMES if inspect.ismodule(getattr(dispatch, name))}
    assert found == set(NAMES) - modules

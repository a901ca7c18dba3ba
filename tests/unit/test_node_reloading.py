"""SIGHUP, and the keys that sign runs."""

from __future__ import annotations

import json

import pytest

from dispatcher.errors import ConfigError
from dispatcher.node.reloading import Reloading
from dispatcher.settings import Settings
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log


@pytest.mark.parametrize(
    ("found", "event"),
    [
        (True, "settings.reloaded"),
        (False, None),
        (ConfigError("SIGNING_KEY=x: no"), "settings.kept"),
    ],
)
async def test_signing_keys_are_read_again_also_when_no_settings_are_in_a_file(
    found: bool | ConfigError, event: str | None
) -> None:
    """Nothing is said where they are the same; a mistake is told and changes nothing."""
    lines: list[str] = []
    asked = 0

    async def load() -> bool:
        nonlocal asked
        asked += 1
        if isinstance(found, ConfigError):
            raise found
        return found

    events = Events(open_log(lines.append, level="debug", format="json"))
    await Reloading(Settings.load({}), {}, events, lambda _: None, load).reload()
    assert asked == 1
    told = [json.loads(line) for line in lines]
    assert told.pop()["event"] == "settings.kept"  # no file is named in the environment
    assert [line["event"] for line in told] == ([] if event is None else [event])
    assert all("SIGNING_KEY" in str(line) for line in told)

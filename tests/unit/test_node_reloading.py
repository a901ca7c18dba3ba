"""SIGHUP, the keys that sign runs, and rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError
from dispatcher.node.reloading import Reloading
from dispatcher.settings import Settings, loaded
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
    reloading = Reloading(
        Settings.load({}),
        Rules(),
        {},
        events,
        lambda _: None,
        lambda _: lambda: None,
        {"SIGNING_KEY": load},
    )
    await reloading.reload()
    assert asked == 1
    told = [json.loads(line) for line in lines]
    if found is False:
        assert told.pop()["event"] == "settings.kept"  # no file is named in the environment
    assert [line["event"] for line in told] == ([] if event is None else [event])
    assert all("SIGNING_KEY" in str(line) for line in told)


async def test_certificates_that_are_as_they_were_are_no_mistake() -> None:
    """A renewal that was not due, without a file of settings: nothing is warned of."""

    async def load() -> bool:
        return False

    lines: list[str] = []
    events = Events(open_log(lines.append, level="debug", format="json"))
    files = {"SIGNING_KEY": load, "LISTEN_TLS_CERT": load}
    reloading = Reloading(
        Settings.load({}), Rules(), {}, events, lambda _: None, lambda _: lambda: None, files
    )
    await reloading.reload()
    (line,) = [json.loads(line) for line in lines]
    assert (line["event"], line["replaced"]) == ("settings.reloaded", [])


class Node:
    """What reloads, with a file of rules and a file of a secret."""

    def __init__(self, path: Path, text: str) -> None:
        self.file = path / "dispatcher.toml"
        self.secret = path / "secret"
        self.secret.write_text("one")
        self.write(text)
        environ = {"DISPATCHER_CONFIG": str(self.file)}
        self.in_force: list[Rules] = []
        self.lines: list[dict[str, Any]] = []
        settings, rules = loaded.load(environ)
        events = Events(
            open_log(lambda line: self.lines.append(json.loads(line)), level="debug", format="json")
        )
        self.refusal: ConfigError | None = None
        self._reloading = Reloading(settings, rules, environ, events, lambda _: None, self._prepare)

    def _prepare(self, rules: Rules) -> Callable[[], None]:
        if self.refusal is not None:
            raise self.refusal
        return lambda: self.in_force.append(rules)

    def write(self, text: str) -> None:
        """Write the file of rules."""
        self.file.write_text(text.replace("SECRET", f"file:{self.secret}"))

    async def reload(self) -> dict[str, Any]:
        """SIGHUP; returns the one event that it came to."""
        self.lines.clear()
        await self._reloading.reload()
        (line,) = self.lines
        return line


RULE = '[[destination]]\nmatch = "a"\nheaders = {A = "SECRET"}\n'
GROUP = '[[group]]\nname = "g"\nmembers = ["a"]\n'


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        (lambda node: node.write(RULE + GROUP), []),
        (lambda node: node.write(RULE + "retries = 3\n" + GROUP), ["destination"]),
        (lambda node: node.write(RULE + GROUP.replace('"a"', '"b"')), ["group"]),
        (lambda node: node.write(""), ["destination", "group"]),
        (lambda node: node.secret.write_text("two"), ["destination"]),
    ],
)
async def test_rules_and_the_files_they_name_are_read_again(
    tmp_path: Path, change: Callable[[Node], None], replaced: list[str]
) -> None:
    """What has changed is in force and named, also where only a file of a secret has."""
    node = Node(tmp_path, RULE + GROUP)
    change(node)
    line = await node.reload()
    assert (line["event"], line["replaced"]) == ("settings.reloaded", replaced)
    assert len(node.in_force) == bool(replaced)
    assert (await node.reload())["replaced"] == []


async def test_a_mistake_keeps_the_old_rules_and_says_so(tmp_path: Path) -> None:
    """Nothing of what is right in the file is taken either; the next file is."""
    node = Node(tmp_path, RULE)
    node.write(RULE + 'retrys = 3\n[[destination]]\nmatch = "b"\n')
    line = await node.reload()
    assert line["event"] == "settings.kept"
    assert "did you mean retries?" in line["reason"]
    node.secret.unlink()
    assert "cannot be read: No such file" in (await node.reload())["reason"]
    assert node.in_force == []
    node.write('[[destination]]\nmatch = "b"\n')
    assert (await node.reload())["replaced"] == ["destination"]
    assert [str(rule.match) for rule in node.in_force[0].rules] == ["b"]


async def test_rules_that_cannot_be_put_into_force_are_kept_out(tmp_path: Path) -> None:
    """What was found when they were prepared is told as any other mistake."""
    node = Node(tmp_path, RULE)
    node.write(RULE + "retries = 3\n")
    node.refusal = ConfigError("destination 1 (a): ca.pem changed while it was read")
    line = await node.reload()
    assert (line["event"], line["reason"]) == ("settings.kept", str(node.refusal))
    assert node.in_force == []
    node.refusal = None
    assert (await node.reload())["replaced"] == ["destination"]
    assert len(node.in_force) == 1

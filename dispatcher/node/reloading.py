"""SIGHUP: the settings and rules are read again, with the files of secrets that they name, and of
them the keys and the rules are put into force; and the files of the keys that sign runs and of the
certificates that listeners show.

These are what has to be replaced without an interruption. All other settings are what the parts
were made with; those that have changed are named, and wait for a restart. A mistake changes
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from dispatcher.apart import apart
from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError, KeyNotDurable
from dispatcher.settings import Settings, loaded
from dispatcher.settings.misspelt_roles import misspelt_roles
from dispatcher.settings.sources import CONFIG_VARIABLE, DESTINATION, GROUP, NOTIFY, Names
from dispatcher.telemetry.events import Events

_ALWAYS_THERE: Final = "SIGNING_KEY"
"""It has a place also where nobody names one."""
_REPLACED: Final = frozenset({"API_KEYS", "LISTEN_KEYS"})
"""Settings that are put into force while the server runs."""
_MOST_UNREACHED: Final = 10
"""Rules that are warned of; `dispatcher config check` names all."""


class Reloading:
    """Reads the settings of a running server again. `replace_keys` is given new settings whose keys
    differ, and raises a ValueError where they cannot be put into force. `prepare_rules` is given
    rules in a thread, raises a ConfigError where one of them cannot be put into force, and returns
    what does that. `files` read a file each, by the name of its setting: they say whether it has
    changed, and raise a ConfigError or KeyNotDurable where it cannot be read or made. `taken` is
    told what is in force after each time that there was no mistake in it."""

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        environ: Mapping[str, str],
        events: Events,
        replace_keys: Callable[[Settings], None],
        prepare_rules: Callable[[Rules], Callable[[], None]],
        files: Mapping[str, Callable[[], Awaitable[bool]]] | None = None,
        taken: Callable[[Settings, Rules], None] = lambda settings, rules: None,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._environ = environ
        self._events = events
        self._replace_keys = replace_keys
        self._prepare_rules = prepare_rules
        self._files = files or {}
        self._taken = taken
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> None:
        """Read everything again, in threads: a file may be on a slow disk, or on one that hangs,
        and the server is to stop all the same."""
        async with self._one_at_a_time:
            is_told = await self._reload_files()
            names = Names.of(Settings)
            if not any(self._environ.get(name, "").strip() for name in _of_files(names)):
                if not is_told:
                    self._tell_unchanged(names)
                return
            try:
                found, rules, put_into_force = await apart(self._read, name="settings")
            except ConfigError as error:
                self._events.settings_kept(reason=str(error))
                return
            changed = self._take_rules(rules, put_into_force)
            self._take(found, changed)
            self._taken(self._settings, self._rules)

    def _read(self) -> tuple[Settings, Rules, Callable[[], None]]:
        found, rules = loaded.load(self._environ)
        return found, rules, self._prepare_rules(rules)

    async def _reload_files(self) -> bool:
        """Read each file; a mistake in one is no reason to keep what is in another. Returns whether
        there was anything to tell: one has changed, or is wrong."""
        replaced = []
        is_wrong = False
        for setting, load in self._files.items():
            try:
                if await load():
                    replaced.append(setting)
            except (ConfigError, KeyNotDurable) as error:
                self._events.settings_kept(reason=str(error))
                is_wrong = True
        if replaced:
            self._events.settings_reloaded(replaced=replaced)
        return is_wrong or bool(replaced)

    def _tell_unchanged(self, names: Names) -> None:
        """No settings are in files, and what is in others is as it was."""
        if self._files.keys() > {_ALWAYS_THERE}:
            self._events.settings_reloaded(replaced=[])
            return
        self._events.settings_kept(
            reason="no file is named in the environment, by " + ", ".join(sorted(_of_files(names)))
        )

    def _take(self, found: Settings, tables: list[str]) -> None:
        changed = set(changed_settings(self._settings, found))
        keys = changed & _REPLACED
        if keys:
            try:
                self._replace_keys(found)
            except ValueError:
                keys = set()
            else:
                replaced = {name.lower(): getattr(found, name.lower()) for name in _REPLACED}
                self._settings = self._settings.model_copy(update=replaced)
                tell_misspelt_roles(found, self._events)
        self._events.settings_reloaded(replaced=[*sorted(keys), *tables])
        if changed - keys:
            self._events.settings_need_restart(settings=sorted(changed - keys))

    def _take_rules(self, rules: Rules, put_into_force: Callable[[], None]) -> list[str]:
        """Put rules into force where they differ; returns the names of the tables that do."""
        old, self._rules = self._rules, rules
        every = (
            (DESTINATION, old.rules, rules.rules),
            (GROUP, old.groups, rules.groups),
            (NOTIFY, old.notify, rules.notify),
        )
        changed = [name for name, before, after in every if before != after]
        if changed:
            put_into_force()
            tell_unreached(rules, self._events)
        return changed


def tell_unreached(rules: Rules, events: Events) -> None:
    """Warn of the first rules that no message ever has."""
    for rule, before in rules.unreached()[:_MOST_UNREACHED]:
        events.rule_unreached(match=str(rule.match), before=str(before.match))


def tell_misspelt_roles(settings: Settings, events: Events) -> None:
    """Warn of keys that are an administrator's because their role is misspelt."""
    for key in misspelt_roles(settings):
        events.key_role_misspelt(setting=key.setting, key=key.key, meant=key.meant)


def changed_settings(old: Settings, new: Settings) -> list[str]:
    """Return the names of the settings that differ."""
    return [
        str(field.validation_alias)
        for name, field in Settings.model_fields.items()
        if getattr(old, name) != getattr(new, name)
    ]


def _of_files(names: Names) -> frozenset[str]:
    return names.files | {CONFIG_VARIABLE}

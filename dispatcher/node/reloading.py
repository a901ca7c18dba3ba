"""SIGHUP: the settings are read again, and of them the keys are put into force; and the file of the
keys that sign runs.

Keys are what has to be replaced without an interruption. All other settings are what the parts were
made with; those that have changed are named, and wait for a restart. A mistake changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from dispatcher.errors import ConfigError, KeyNotDurable
from dispatcher.settings import Settings
from dispatcher.settings.sources import CONFIG_VARIABLE, Names
from dispatcher.telemetry.events import Events


class Reloading:
    """Reads the settings of a running server again. `replace_keys` is given new settings whose keys
    differ, and raises a ValueError where they cannot be put into force. `load_signing_keys` reads
    the file of those, says whether they have changed, and raises a ConfigError or KeyNotDurable
    where it cannot be read or made."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        events: Events,
        replace_keys: Callable[[Settings], None],
        load_signing_keys: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._events = events
        self._replace_keys = replace_keys
        self._load_signing_keys = load_signing_keys
        self._one_at_a_time = asyncio.Lock()

    async def reload(self) -> None:
        """Read everything again, in a thread: a file may be on a slow disk."""
        async with self._one_at_a_time:
            await self._reload_signing_keys()
            names = Names.of(Settings)
            if not any(self._environ.get(name, "").strip() for name in _of_files(names)):
                self._events.settings_kept(
                    reason="no file is named in the environment, by "
                    + ", ".join(sorted(_of_files(names)))
                )
                return
            try:
                found = await asyncio.to_thread(Settings.load, self._environ)
            except ConfigError as error:
                self._events.settings_kept(reason=str(error))
                return
            self._take(found, names)

    async def _reload_signing_keys(self) -> None:
        if self._load_signing_keys is None:
            return
        try:
            if await self._load_signing_keys():
                self._events.settings_reloaded(replaced=["SIGNING_KEY"])
        except (ConfigError, KeyNotDurable) as error:
            self._events.settings_kept(reason=str(error))

    def _take(self, found: Settings, names: Names) -> None:
        changed = set(changed_settings(self._settings, found))
        keys = changed & names.secret
        if keys:
            try:
                self._replace_keys(found)
            except ValueError:
                keys = set()
            else:
                replaced = {name: getattr(found, name) for name in ("api_keys", "listen_keys")}
                self._settings = self._settings.model_copy(update=replaced)
        self._events.settings_reloaded(replaced=sorted(keys))
        if changed - keys:
            self._events.settings_need_restart(settings=sorted(changed - keys))


def changed_settings(old: Settings, new: Settings) -> list[str]:
    """Return the names of the settings that differ."""
    return [
        str(field.validation_alias)
        for name, field in Settings.model_fields.items()
        if getattr(old, name) != getattr(new, name)
    ]


def _of_files(names: Names) -> frozenset[str]:
    return names.files | {CONFIG_VARIABLE}

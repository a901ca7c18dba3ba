"""Settings and rules together: what a server is started with."""

from __future__ import annotations

from collections.abc import Mapping

from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError
from dispatcher.settings import rules as of_rules
from dispatcher.settings.model import Settings


def load(environ: Mapping[str, str]) -> tuple[Settings, Rules]:
    """Read the settings and the rules of an environment and of the file it names.

    Raises:
        ConfigError: naming everything that is wrong in either.
    """
    found: list[str] = []
    try:
        settings = Settings.load(environ)
    except ConfigError as error:
        found.append(str(error))
    try:
        rules = of_rules.load(environ)
    except ConfigError as error:
        if str(error) not in found:  # the file cannot be read, for one as for the other
            found.append(str(error))
    if found:
        raise ConfigError("; ".join(found))
    return settings, rules

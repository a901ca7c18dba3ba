"""The rules in the configuration file: `[[destination]]` and `[[group]]` tables.

`load` reads them, `words` gives them back as they may be shown, without secrets.
"""

from dispatcher.settings.rules.loading import load
from dispatcher.settings.rules.words import described

__all__ = ["described", "load"]

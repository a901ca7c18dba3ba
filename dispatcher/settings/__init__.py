"""What the operator sets: the environment and a TOML file, read once at start, then frozen.

`Settings.load(environ)` either returns settings of which every value is valid, or raises a
`ConfigError` that names everything that is wrong. `loaded.load` reads the rules for destinations
(`rules`) with them.
"""

from dispatcher.settings.address import Address, UnixAddress
from dispatcher.settings.model import OrderOnDead, Settings

__all__ = ["Address", "OrderOnDead", "Settings", "UnixAddress"]

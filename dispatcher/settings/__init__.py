"""What the operator sets: the environment and a TOML file, read once at start, then frozen.

`Settings.load(environ)` either returns settings of which every value is valid, or raises a
`ConfigError` that names everything that is wrong.
"""

from dispatcher.settings.address import Address
from dispatcher.settings.model import Settings

__all__ = ["Address", "Settings"]

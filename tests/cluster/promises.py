"""How long a partition may stand still, by what befell it: what the documentation promises."""

from __future__ import annotations

from typing import Final

PROCESS_S: Final = 6.0
"""When a process dies, hangs or is cut off: its lease runs out, and another member claims it."""
MACHINE_S: Final = 12.0
"""When a machine is lost, with the NATS server on it."""
NATS_S: Final = 10.0
"""When the NATS server that leads a stream dies or hangs. The others wait for 4 to 9 seconds before
they elect another one, by their own choice."""

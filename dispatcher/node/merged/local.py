"""What operators see of the partitions of this process: of one, what it says itself."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.node.meeting import Meeting
from dispatcher.node.merged.admin import MergedAdmin
from dispatcher.node.merged.carrier import MergedCarrier
from dispatcher.node.merged.parts import LocalPart
from dispatcher.node.merged.replayer import MergedReplayer
from dispatcher.queue.admin.surface import Admin, Carrier, Replayer
from dispatcher.queue.partition import Partition


def merged(
    parts: Sequence[Partition], spread: int, meeting: Meeting | None = None
) -> tuple[Admin, Carrier, Replayer]:
    """All of them as one. Places are spread over so many partitions (`core.placing`), and were over
    others before where there is a `meeting`."""
    if len(parts) == 1:
        return parts[0].admin, parts[0].carrying, parts[0].replaying
    admin, carrier = MergedAdmin(), MergedCarrier(spread, meeting)
    for part in parts:
        number = part.config.partition
        admin.add(LocalPart(number, part.admin))
        carrier.add(number, part.carrying)
    return (
        admin,
        carrier,
        MergedReplayer(
            [part.replaying for part in parts],
            keeps_history=all(part.replaying.keeps_history for part in parts),
        ),
    )

"""An audit's log that leads a whole life: what it holds afterwards is kept as a golden file.

`python -m tests.golden.audit_life N` writes `audit_vN.json.gz` for the version of the records that
the program writes now, if the file is missing; it is never written again.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from dispatcher.audit.audit_log import AuditLog
from dispatcher.audit.entries import Entry, EntryFilter
from dispatcher.queue.admin.pace import Pace
from dispatcher.telemetry.supervisor import Supervisor
from dispatcher.testing.log import FaultyLog
from dispatcher.testing.loop import run
from tests.golden.queue_life import log_of

HERE = Path(__file__).parent
ENTRIES = (
    Entry(1_800_000_000_000_000, "purged", "alice", {"all": True}, 3, None, "5e0f3a91"),
    Entry(1_800_000_001_000_000, "redriven", None, {"ids": ["0" * 28], "of": 1}, 0, "disk_full"),
    Entry(1_799_999_999_000_000, "key_refused", None, {"path": "/ä", "untold": 7}, error="x"),
    Entry(1_800_000_002_000_000, "exported", "büro", {}),
)


class _Nobody:
    def audit_unkept(self, *, reason: str) -> None:
        raise AssertionError(reason)

    def audit_kept(self, *, lost: int) -> None:
        raise AssertionError(lost)


def golden(version: int) -> Path:
    """Where the records of a version are kept."""
    return HERE / f"audit_v{version}.json.gz"


def load(version: int) -> dict[str, Any]:
    """The golden file of a version: `log` is positions and payloads in hexadecimal, `state` what
    `state_of` says after it was read."""
    found: dict[str, Any] = json.loads(gzip.decompress(golden(version).read_bytes()))
    return found


def state_of(records: list[list[Any]]) -> list[Any]:
    """What an audit that has read these records shows, the newest first."""

    async def main() -> list[Any]:
        trail = _trail(log_of(records))
        await trail.open("test", 0)
        page = await trail.page(EntryFilter(), before=None, limit=100, pace=Pace(0.0))
        await trail.stop()
        return [
            [
                *(one.number, one.at_us, one.action, one.key, one.selection),
                *(one.count, one.error, one.job),
            ]
            for one in page.items
        ]

    return run(lambda _: main())


def live() -> list[list[Any]]:
    """The records of a life: everything that an entry can say."""

    async def main() -> list[list[Any]]:
        log = FaultyLog()
        trail = _trail(log)
        trail.start()
        for entry in ENTRIES:
            trail.add(entry)
        await trail.stop()
        return [[position, payload.hex()] for position, payload in log.records]

    return run(lambda _: main())


def _trail(log: FaultyLog) -> AuditLog:
    supervisor = Supervisor(lambda name, error: None)
    return AuditLog(
        lambda: log, exists=True, max_bytes=2**24, supervisor=supervisor, told=_Nobody()
    )


def write(version: int) -> None:
    """Keep what is written now."""
    records = live()
    found = json.dumps({"log": records, "state": state_of(records)}).encode("ascii")
    with golden(version).open("xb") as file:
        file.write(gzip.compress(found, mtime=0))


if __name__ == "__main__":
    write(int(sys.argv[1]))

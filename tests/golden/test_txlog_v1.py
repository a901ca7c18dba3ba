"""Format version 1 of the transaction log: a log that was written once is read for ever. Nothing
writes this version any more."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.segment import Sizes

GOLDEN = Path(__file__).parent / "txlog_v1"
SIZES = Sizes(smallest=8192, largest=8192, batch=2048, chunk=4096)


def golden() -> dict[str, bytes]:
    """Return the files of the golden log."""
    return {path.stem: gzip.decompress(path.read_bytes()) for path in GOLDEN.glob("*.seg.gz")}


def expected() -> list[tuple[int, bytes]]:
    """Return its records, as they were when it was made."""
    records = json.loads(gzip.decompress((GOLDEN / "records.json.gz").read_bytes()))
    return [(position, bytes.fromhex(payload)) for position, payload in records]


async def test_golden_log_is_read_and_continued(tmp_path: Path) -> None:
    """Every record of the old log is there, at its position, byte for byte, by every way of
    reading; also after it was written to, and became one of the present version."""
    for name, data in golden().items():
        (tmp_path / name).write_bytes(data)
    records = expected()
    for epoch in (3, 4):
        log = FileLog(tmp_path, sizes=SIZES)
        visited: dict[int, bytes] = {}
        await log.open("now", epoch, each(visited.__setitem__))
        assert log.torn is None
        assert list(visited.items()) == records
        assert await log.read([p for p, _ in records]) == [payload for _, payload in records]
        batch = [b"new" * 100] * 4
        records += zip(await log.append(batch), batch, strict=True)
        await log.close()

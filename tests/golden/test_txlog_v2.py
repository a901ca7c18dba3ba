"""Format version 2 of the transaction log: a log that was written once is read for ever, and a log
that is written now is the same to the byte.

To add a version: keep this file, and make one like it with a directory of its own. `python -m
tests.golden.test_txlog_v2` writes the directory if it is missing; it is never written again.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from dispatcher.errors import LogUnknown
from dispatcher.testing.disk import SimulatedDisk
from dispatcher.txlog import each
from dispatcher.txlog.files import FileLog, inspect
from dispatcher.txlog.files.engine import Engine
from dispatcher.txlog.files.frame import HEADER_BYTES, offset_of, segment_of
from dispatcher.txlog.files.segment import Sizes, name_of
from dispatcher.txlog.files.span import SPAN

GOLDEN = Path(__file__).parent / "txlog_v2"
LOG = Path("/golden")
SIZES = Sizes(smallest=8192, largest=8192, batch=2048, chunk=4096)


class _Job:
    def __init__(self, work: object) -> None:
        assert callable(work)
        work()

    def done(self) -> bool:
        return True

    def result(self) -> None:
        return None


def _bytes(count: int) -> bytes:
    return bytes(range(0xA0, 0xA0 + count))


def write_log() -> dict[str, bytes]:
    """Write a log that has everything in it: batches of one and of several records, an empty one, a
    second and a third segment, a recycled one, two open frames, a hole. Returns its files."""
    disk = SimulatedDisk()
    positions: list[int] = []
    for epoch in (1, 2):
        engine = Engine(LOG, disk, spawn=_Job, sizes=SIZES, random=_bytes)
        engine.open(f"owner {epoch}", epoch, None)
        for number in range(8):
            batch = [b"%d:%d:%d " % (epoch, number, n) * (n * 9) for n in range(8)]
            if (epoch, number) == (2, 2):
                disk.capacity_bytes = 0  # no spare segment from now on, until one is recycled
            prepared = engine.prepare(batch, urgent=True)
            engine.write(prepared)
            positions += prepared.positions
            if (epoch, number) == (2, 3):
                engine.trim(positions[30])
                disk.capacity_bytes = None
        engine.close()
    damaged = positions[-20]
    disk.flip(LOG / name_of(segment_of(damaged)), offset_of(damaged) + HEADER_BYTES)
    inspect.repair(LOG, disk, SIZES)
    image = disk.image().items()
    return {name: data for name, data in image if name.endswith(".seg") or name == SPAN}


def golden() -> dict[str, bytes]:
    """Return the files of the golden log."""
    paths = [GOLDEN / f"{SPAN}.gz", *GOLDEN.glob("*.seg.gz")]
    return {path.stem: gzip.decompress(path.read_bytes()) for path in paths}


def expected() -> list[tuple[int, bytes]]:
    """Return its records, as they were when it was made."""
    records = json.loads(gzip.decompress((GOLDEN / "records.json.gz").read_bytes()))
    return [(position, bytes.fromhex(payload)) for position, payload in records]


async def test_golden_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every record of the old log is there, at its position, byte for byte, by every way of
    reading."""
    for name, data in golden().items():
        (tmp_path / name).write_bytes(data)
    log = FileLog(tmp_path)
    visited: list[tuple[int, bytes]] = []
    await log.open("now", 3, each(lambda position, payload: visited.append((position, payload))))
    assert log.torn is None
    assert visited == expected()
    assert await log.read([p for p, _ in expected()]) == [payload for _, payload in expected()]
    await log.close()


def test_log_is_written_as_the_golden_one() -> None:
    """The same records still become the same bytes, headers and all."""
    assert write_log() == golden()


def _write_golden() -> None:
    GOLDEN.mkdir()
    disk = SimulatedDisk()
    files = write_log()
    disk.make_directory(LOG)
    for name, data in files.items():
        (GOLDEN / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))
        disk.pwrite(disk.open(LOG / name, create=True), data, 0)
    lines = list(inspect.dump(LOG, disk, SIZES))
    if lines[-1].damaged:
        raise LogUnknown("the golden log has to be intact")
    records = [(n.position, n.payload.hex()) for n in lines if n.frame and n.frame.type == 1]
    text = json.dumps(records).encode()
    (GOLDEN / "records.json.gz").write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    _write_golden()

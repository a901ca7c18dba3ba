"""A backup of a node has what every process has, or is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.api.backups import BackupState
from dispatcher.core.clock import SystemClock
from dispatcher.core.rate import Rate
from dispatcher.errors import Refused
from dispatcher.node.backup.elsewhere import Copies, Copying, CopyingHere, waiting_name
from dispatcher.node.backup.making import Backups
from dispatcher.node.backup.manifest import Manifest, names_of
from dispatcher.node.backup.restoring import restore
from dispatcher.queue.admin.course import Course
from dispatcher.queue.refusals import MOVED
from dispatcher.telemetry.events import Events
from dispatcher.telemetry.log import open_log
from dispatcher.txlog.files import FileLog
from tests.unit.test_node_backup import Bench, bench, ended, place, records_in

__all__ = ["bench", "place"]
OTHERS = (2, 5)


@pytest.fixture
async def logs(place: Path) -> AsyncIterator[dict[int, tuple[FileLog, FileLog]]]:
    """Those of the partitions of another process, with a gap between them."""
    found = {}
    for number in OTHERS:
        both = FileLog(place / f"t{number}"), FileLog(place / f"d{number}")
        for log in both:
            await log.open("test", 1)
            await log.append([b"%d" % number * 1000])
        found[number] = both
    yield found
    for both in found.values():
        for log in both:
            await log.close()


def _backups(bench: Bench, process: Copying) -> Backups:
    return Backups(
        bench.logs,
        clock=SystemClock(),
        events=Events(open_log(bench.lines.append, level="info", format="json")),
        supervisor=bench.supervisor,
        processes=[process],
    )


async def test_backup_has_the_logs_of_other_processes_in_their_places(
    bench: Bench, place: Path, logs: dict[int, tuple[FileLog, FileLog]]
) -> None:
    """Cut after those of the first one, counted with them, read once, and restored with them."""
    backups = _backups(bench, CopyingHere(logs))
    view = await backups.start(bench.target, Course())
    await logs[2][0].append([b"after the cut"])
    view = await ended(backups)
    assert (view.state, view.error) == (BackupState.MADE, None)
    assert view.copied_bytes == view.total_bytes
    assert Manifest.read(bench.target).numbers == [*OTHERS]
    restore(bench.target, place / "c.log", place / "d.log", told=lambda *_: None)
    for number in OTHERS:
        expected = [b"%d" % number * 1000]
        assert await records_in(place / "c.log" / f"p{number}") == expected
        assert await records_in(place / "d.log" / f"p{number}") == expected


async def test_backup_that_is_stopped_leaves_nothing_of_other_processes(
    bench: Bench, logs: dict[int, tuple[FileLog, FileLog]]
) -> None:
    """And their logs can be cut again. The rate is shared by all that copy."""
    backups = _backups(bench, CopyingHere(logs))
    course = Course(Rate(1000, 1_000_000))
    await backups.start(bench.target, course)
    copying = bench.target / waiting_name(names_of(OTHERS[0])[0])
    async with asyncio.timeout(60):
        while not copying.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    view = await backups.stop()
    assert view.state is BackupState.STOPPED
    assert not bench.target.exists()
    for both in logs.values():
        for log in both:
            log.cut()
            log.let_go()


class _Away:
    """A process that is not there (`Copying`), or breaks off once its logs are cut."""

    def __init__(self, *, breaks_off: bool) -> None:
        self._breaks_off = breaks_off

    async def copy(self, directory: str, *, course: Course | None = None) -> AsyncIterator[Copies]:
        """See `Copying`."""
        if self._breaks_off:
            yield Copies([], [])
        raise Refused(MOVED)


async def test_there_is_no_backup_without_a_process(bench: Bench) -> None:
    """One that is away refuses it; one that breaks off ends it, and nothing is left."""
    with pytest.raises(Refused) as caught:
        await _backups(bench, _Away(breaks_off=False)).start(bench.target, Course())
    assert caught.value.refusal is MOVED
    assert bench.target.is_dir()
    assert not [*bench.target.iterdir()]
    bench.target.rmdir()
    backups = _backups(bench, _Away(breaks_off=True))
    await backups.start(bench.target, Course())
    view = await ended(backups)
    assert (view.state, view.error) == (BackupState.FAILED, MOVED.message)
    assert not bench.target.exists()

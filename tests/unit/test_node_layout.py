"""The number of partitions, and the file that it is in."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dispatcher.errors import ConfigError, LogCorrupt, LogLocked
from dispatcher.node.layout import NAME, Former, Layout, decoded, lay_out, read_layout, write_layout
from dispatcher.settings import Settings
from dispatcher.txlog.files import FileLog


def settings_in(directory: Path) -> Settings:
    return Settings.load(
        {
            "TRANSACTION_LOG": str(directory / "transaction.log"),
            "DEAD_LETTER": str(directory / "deadletter.log"),
        }
    )


async def make_log(directory: Path) -> None:
    log = FileLog(directory)
    await log.open("test", 0, lambda *_: None)
    await log.close()


def test_former_number_is_kept_with_the_instant_at_which_it_ended() -> None:
    """The latest first; one that comes back is in force, and no former one."""
    layout = Layout(1).changed(3, 10).changed(2, 20)
    assert layout == Layout(2, (Former(3, 20), Former(1, 10)))
    assert layout.changed(2, 30) is layout
    assert layout.changed(1, 30) == Layout(1, (Former(2, 30), Former(3, 20)))
    assert layout.without(3) == Layout(2, (Former(1, 10),))


def test_former_numbers_say_nothing_where_there_is_one_partition() -> None:
    """Nobody is asked then, and nothing costs."""
    layout = Layout(1, (Former(2, 30),))
    assert layout.cleared([0]) == Layout(1)
    assert layout.cleared([0, 1]) == layout
    assert Layout(2, (Former(1, 30),)).cleared([0, 1]) == Layout(2, (Former(1, 30),))


def test_partitions_are_those_on_disk_and_those_that_are_to_be() -> None:
    """Each process has those whose number leaves its own when divided by that of processes."""
    layout = Layout(3, (Former(5, 1),))
    every = layout.partitions([0, 4, 1])
    assert every == (0, 1, 2, 4)
    assert [layout.assignment(number, every).partitions for number in range(3)] == [
        (0,),
        (1, 4),
        (2,),
    ]
    one = layout.assignment(1, every)
    assert (one.own, one.spread, one.former, one.every) == (1, 3, (5,), every)
    assert (one.is_surplus(1), one.is_surplus(4)) == (False, True)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Whoever may not read the log may not read it."""
    layout = Layout(3, (Former(2, 20), Former(1, 10)))
    write_layout(tmp_path, layout)
    assert read_layout(tmp_path) == layout
    assert os.listdir(tmp_path) == [NAME]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_file_stays_as_it_was_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that fails is told."""
    write_layout(tmp_path, Layout(3))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Exception, match="Input/output error"):
        write_layout(tmp_path, Layout(2))
    assert read_layout(tmp_path) == Layout(3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"version": 1, "spread": 0, "former": []}',
        b'{"version": 1, "spread": "2", "former": []}',
        b'{"version": 0, "spread": 2, "former": []}',
        b'{"version": 1, "spread": 2, "former": [{"spread": 1}]}',
        b'{"version": 1, "spread": 2, "former": [{"spread": 1, "ended_us": -1}]}',
    ],
)
def test_damaged_file_stops_a_start(content: bytes) -> None:
    """It is a part of the log: without it nobody knows where keys lie."""
    with pytest.raises(LogCorrupt, match=r"partitions\.json"):
        decoded(Path(NAME), content)


def test_file_of_a_later_version_is_not_guessed_at() -> None:
    """Whoever wrote it knows what it means."""
    with pytest.raises(ConfigError, match="version 2"):
        decoded(Path(NAME), b'{"version": 2, "parts": {}}')


async def test_one_process_with_one_partition_leaves_no_file(tmp_path: Path) -> None:
    """Older versions find what they left."""
    settings = settings_in(tmp_path)
    assert lay_out(settings, 1, 10) == (Layout(1), (0,))
    assert not (tmp_path / "transaction.log").exists()
    await make_log(settings.transaction_log)
    assert lay_out(settings, 1, 10) == (Layout(1), (0,))
    assert not (settings.transaction_log / NAME).exists()


async def test_log_from_before_has_a_spread_of_one(tmp_path: Path) -> None:
    """With more processes its keys are looked for where they lie."""
    settings = settings_in(tmp_path)
    await make_log(settings.transaction_log)
    assert lay_out(settings, 2, 10) == (Layout(2, (Former(1, 10),)), (0, 1))
    assert read_layout(settings.transaction_log) == Layout(2, (Former(1, 10),))
    assert lay_out(settings, 2, 20) == (Layout(2, (Former(1, 10),)), (0, 1))


def test_new_log_has_no_former_spread(tmp_path: Path) -> None:
    """There is nothing that could lie elsewhere."""
    settings = settings_in(tmp_path)
    assert lay_out(settings, 3, 10) == (Layout(3), (0, 1, 2))
    assert read_layout(settings.transaction_log) == Layout(3)


async def test_logs_of_several_partitions_without_the_file_are_all_opened(tmp_path: Path) -> None:
    """Their keys are looked for as if places were spread over all of them."""
    settings = settings_in(tmp_path)
    await make_log(settings.transaction_log)
    await make_log(settings.transaction_log / "p2")
    assert lay_out(settings, 1, 10) == (Layout(1, (Former(3, 10),)), (0, 2))


async def test_layout_of_a_server_that_runs_is_left_alone(tmp_path: Path) -> None:
    """It is the one by which that server places what it accepts."""
    settings = settings_in(tmp_path)
    log = FileLog(settings.transaction_log)
    await log.open("test", 0, lambda *_: None)
    with pytest.raises(LogLocked):
        lay_out(settings, 2, 10)
    assert not (settings.transaction_log / NAME).exists()
    await log.close()

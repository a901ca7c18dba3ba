"""Where the logs are to live, looked at before anything is made there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.errors import ConfigError
from dispatcher.node.places import check_places, has_log, results_of
from dispatcher.settings import Settings
from dispatcher.txlog.files.disk import RealDisk
from dispatcher.txlog.files.segment import name_of
from dispatcher.txlog.files.span import SPAN, UNFINISHED_SPAN, Span, make_span
from dispatcher.txlog.files.supply import UNFINISHED


def settings(place: Path, transaction: str = "t.log", dead: str = "d.log") -> Settings:
    """Settings with logs in a directory."""
    logs = {"TRANSACTION_LOG": str(place / transaction), "DEAD_LETTER": str(place / dead)}
    return Settings.load(logs)


def test_results_lie_beside_the_transaction_log(tmp_path: Path) -> None:
    """There is no setting for it."""
    assert results_of(tmp_path / "a" / "t.log") == tmp_path / "a" / "results.log"
    assert results_of(Path("transaction.log")) == Path("results.log")
    check_places(settings(tmp_path))


@pytest.mark.parametrize("names", [("results.log", "d.log"), ("t.log", "results.log")])
def test_log_in_the_place_of_the_results_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """Two logs in one directory would be none."""
    with pytest.raises(ConfigError, match="expected another name"):
        check_places(settings(tmp_path, *names))


@pytest.mark.parametrize("names", [("t.log", "t.log/d"), ("d.log/t", "d.log")])
def test_log_in_the_directory_of_the_other_one_is_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """Each would take the other's files for its own."""
    with pytest.raises(ConfigError, match="expected a directory of its own"):
        check_places(settings(tmp_path, *names))


@pytest.mark.parametrize("name", ["t.log", "d.log", "results.log"])
def test_file_is_refused_where_a_log_is_to_be(tmp_path: Path, name: str) -> None:
    """Before anything is made, and the message names it."""
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=name):
        check_places(settings(tmp_path))


def test_directory_that_no_log_was_made_in_is_none(tmp_path: Path) -> None:
    """What a process leaves that found no space is not opened at the next start, however far it
    came: only a segment, or a span that says there has to be one, is a log."""
    assert not has_log(tmp_path / "results.log")
    assert not has_log(tmp_path)
    (tmp_path / "lock").touch()
    (tmp_path / UNFINISHED).write_bytes(bytes(1000))
    (tmp_path / UNFINISHED_SPAN).write_bytes(b"")
    assert not has_log(tmp_path)
    make_span(tmp_path, RealDisk(), Span(b"12345678", 1, 0))
    assert not has_log(tmp_path)
    make_span(tmp_path, RealDisk(), Span(b"12345678", 1, 1))
    assert has_log(tmp_path)
    (tmp_path / SPAN).write_bytes(b"torn")
    assert has_log(tmp_path)
    (tmp_path / SPAN).unlink()
    (tmp_path / name_of(1)).touch()
    assert has_log(tmp_path)

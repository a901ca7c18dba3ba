"""What of these tests is about one server alone, and so is not run against a cluster, with the
reason. Everything else is what a cluster promises too.

A key is a file, or a test of one (`file::test`).
"""

from __future__ import annotations

from typing import Final

_STARTS_NONE: Final = "starts no server that a cluster could stand for"
_FILES: Final = "reads or damages the files of a log, which are streams in a cluster"
_BACKUP: Final = "backups of a cluster are those of its streams"
_KEEPS: Final = "EVENT_SOURCING needs files"
_OWN: Final = "is about how one process starts, and what it shows of itself"
_ALL_STOP: Final = "all nodes stop at once, and a job may end as the partition of another one goes"
_RUN: Final = "is about `dispatcher run`, which has a server of its own"

OF_ONE_SERVER: Final = {
    "test_cli_init": _RUN,
    "test_cli_run": _RUN,
    "test_documented_commands": "commands of the documentation are tried beside logs in files",
    "test_made_key": _OWN,
    "test_options_kept": _FILES,
    "test_processes": "PROCESSES is for servers without a cluster",
    "test_replay": _KEEPS,
    "test_sdk_examples": _RUN,
    "test_sdk_replay_exit": _STARTS_NONE,
    "test_sdk_serving": _STARTS_NONE,
    "test_settings": _OWN,
    "test_unix_sockets": _OWN,
    "test_wheel": _STARTS_NONE,
    "test_backup": _BACKUP,
    "test_audit::test_audit_survives_a_kill_and_is_shown": _FILES,
    "test_audit::test_damaged_audit_harms_nothing_and_is_told": _FILES,
    "test_audit::test_audit_that_the_disk_cannot_read_harms_nothing": _FILES,
    "test_audit::test_audit_with_a_pipe_for_a_file_holds_up_no_start": _FILES,
    "test_audit::test_backup_has_the_audit_and_a_restore_puts_it_back": _BACKUP,
    "test_jobs::test_a_stop_names_the_jobs_that_it_ends": _ALL_STOP,
    "test_durability::test_torn_tail_is_cut_off_and_reported": _FILES,
    "test_durability::test_damage_elsewhere_stops_the_start_with_file_and_offset": _FILES,
    "test_durability::test_verify_of_an_intact_log_exits_0": _FILES,
    "test_durability::test_segments_are_deleted_when_nothing_in_them_is_needed": _FILES,
    "test_durability::test_full_disk_is_survived": _FILES,
    "test_durability::test_202_comes_after_the_sync": _FILES,
}


def why_not(file: str, test: str) -> str | None:
    """Why a test is not run against a cluster; None: it is."""
    return OF_ONE_SERVER.get(file) or OF_ONE_SERVER.get(f"{file}::{test}")

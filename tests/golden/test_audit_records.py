"""The records of the audit's log: a log that any version wrote is read for ever."""

from __future__ import annotations

import pytest

from tests.golden.audit_life import ENTRIES, live, load, state_of

KINDS = {1: {96}}
"""The kinds of record that the golden log of each version has."""


@pytest.mark.parametrize("version", KINDS)
def test_audit_of_a_version_is_read_when_the_program_is_newer(version: int) -> None:
    """Every entry, with all that it says."""
    found = load(version)
    assert {bytes.fromhex(payload)[0] for _, payload in found["log"]} == KINDS[version]
    assert state_of(found["log"]) == found["state"]
    assert len(found["state"]) >= 4


def test_golden_life_has_every_kind_that_is_written_now() -> None:
    """The recipe of the newest golden file is still that of the program."""
    records = live()
    assert {bytes.fromhex(payload)[0] for _, payload in records} == KINDS[max(KINDS)]
    assert len(records) == len(ENTRIES)

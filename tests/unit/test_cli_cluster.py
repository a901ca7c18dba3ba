"""Cells of `dispatcher cluster status`."""

from __future__ import annotations

import pytest

from dispatcher.cli.cluster import owners, spans


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([], None),
        ([3], "3"),
        ([1, 0], "0, 1"),
        ([0, 1, 2], "0-2"),
        ([0, 1, 2, 4, 6, 7, 9, 10, 11, 15], "0-2, 4, 6, 7, 9-11, 15"),
    ],
)
def test_numbers_in_a_row_are_told_as_a_span(numbers: list[int], text: str | None) -> None:
    """From three on."""
    assert spans(numbers) == text


def test_owner_is_named_by_its_node_and_a_process_by_its_number() -> None:
    """All processes of a server are on one host."""
    members = [{"number": 0, "node": "a"}, {"number": 1, "node": "b"}]
    assert owners({"cluster": True, "members": members}) == {0: "a", 1: "b"}
    assert owners({"cluster": False, "members": members}) == {0: "0", 1: "1"}

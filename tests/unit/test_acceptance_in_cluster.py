"""What has the acceptance tests run against a cluster is up to date with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dispatcher.testing.process import ServerProcess
from tests.acceptance.clustered import ClusteredServer
from tests.acceptance.of_one_server import OF_ONE_SERVER, why_not

ACCEPTANCE = Path(__file__).parents[1] / "acceptance"


@pytest.mark.parametrize("name", OF_ONE_SERVER)
def test_what_is_left_out_is_there(name: str) -> None:
    """A file that was renamed, or a test, is not left out by its old name."""
    file, _, test = name.partition("::")
    text = (ACCEPTANCE / f"{file}.py").read_text("utf-8")
    assert not test or re.search(rf"^def {test}\(", text, re.MULTILINE)


def test_file_that_is_left_out_is_left_out_whole() -> None:
    """And of others only what is named."""
    assert why_not("test_wheel", "test_anything")
    assert why_not("test_durability", "test_202_comes_after_the_sync")
    assert why_not("test_durability", "test_dead_letters_are_kept") is None


def test_cluster_has_all_that_tests_ask_of_a_server() -> None:
    """Whatever a test may use of the one, the other has."""
    asked = {name for name in dir(ServerProcess) if not name.startswith("_")}
    assert asked | {"lines", "torn", "stderr"} <= {*dir(ClusteredServer)}


def test_no_test_starts_a_server_of_its_own() -> None:
    """All take it from `served`, or they would be run against one server in place of a cluster."""
    found = [
        path.name
        for path in ACCEPTANCE.glob("test_*.py")
        if "dispatcher.testing.process" in path.read_text("utf-8")
    ]
    assert found == []

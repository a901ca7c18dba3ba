"""Tests of functions: without a server, and in a time that jumps.

    from dispatcher.sdk.testing import Environment, crash_everywhere, replay

    def test_welcome() -> None:
        env = Environment(welcome)
        env.fail(greet, ConnectionError, times=2)     # tried again, by its status
        assert env.run(welcome, ["Ada"]) == ["Hello, Ada!"]
        assert env.runs(greet) == 3

    def test_approval() -> None:
        env = Environment(approval)
        handle = env.start(approval, 7)               # suspended: it waits for a person
        env.advance(days=3)
        env.resolve("order-7", True)
        assert handle.result() == "approved"

    def test_welcome_survives_crashes() -> None:
        crash_everywhere(welcome, ["Ada"])

With `pytest_plugins = ["dispatcher.sdk.testing.plugin"]` in conftest.py there is a fixture
`environment`, which makes environments that are closed after the test.
"""

from dispatcher.sdk.testing.crashes import CrashShows
from dispatcher.sdk.testing.environment import Environment
from dispatcher.sdk.testing.everywhere import crash_everywhere
from dispatcher.sdk.testing.history import History, NoLongerFits
from dispatcher.sdk.testing.parts import START
from dispatcher.sdk.testing.replaying import replay
from dispatcher.sdk.testing.running import NotDeterministic
from dispatcher.sdk.testing.tree import Branch, Tree
from dispatcher.sdk.testing.waiting import Stuck

__all__ = [
    "START",
    "Branch",
    "CrashShows",
    "Environment",
    "History",
    "NoLongerFits",
    "NotDeterministic",
    "Stuck",
    "Tree",
    "crash_everywhere",
    "replay",
]

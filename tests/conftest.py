"""What all tests share: how Hypothesis runs, and an environment without settings in it."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import HealthCheck, settings

from dispatcher.settings import Settings
from dispatcher.settings.sources import Names
from tests.effort import times

# No deadline: on a busy machine an example that took long says nothing about the code. A failing
# example is printed with what it takes to run it again (--hypothesis-seed, @reproduce_failure).
settings.register_profile(
    "dispatcher",
    deadline=None,
    max_examples=times(40),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("dispatcher")


_OF_COMMANDS = (
    "DISPATCHER_API",
    "DISPATCHER_KEY",
    "DISPATCHER_LISTENER",
    "DISPATCHER_LISTENER_KEY",
)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """Servers that tests start must not inherit settings from the shell of the developer, and
    commands not a login."""
    patch = pytest.MonkeyPatch()
    for name in (*Names.of(Settings).every, *_OF_COMMANDS):
        patch.delenv(name, raising=False)
    patch.setenv("DISPATCHER_LOGIN", "/dev/null/login.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What builds a wheel first: at the end it would keep one core busy, alone, for minutes."""
    items.sort(key=lambda item: item.path.name != "test_wheel.py")


def pytest_collection_finish() -> None:
    """Let the garbage collector leave the tests themselves alone. There are thousands, and to look
    at all of them takes longer than most tests, of which some collect garbage by themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _garbage_of_one_file() -> None:
    """The same for what tests of other files have left. Each run on a simulated loop ends with a
    look at everything, and so do others: that must not take longer than they do."""
    gc.collect()
    gc.freeze()


def pytest_configure() -> None:
    """Let commands that tests start be interrupted. A shell starts what runs in the background with
    SIGINT ignored, and every process inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""What a run does next, and the words of its command line."""

from __future__ import annotations

import pytest

from dispatcher.cli.errors import BadUsage
from dispatcher.cli.local import words
from dispatcher.cli.local.command import check, name_of
from dispatcher.cli.local.course import Act, Course, Phase
from dispatcher.cli.local.own_server import url_of
from dispatcher.cli.local.run import address


def test_command_is_stopped_when_asked_and_killed_when_asked_again() -> None:
    """Its exit code is the run's."""
    course = Course(reloads=False)
    assert course.asked() is Act.STOP
    assert course.asked() is Act.KILL
    assert course.ended(-9) is Act.NOTHING
    assert (course.phase, course.code) == (Phase.OVER, 137)


def test_run_is_over_when_its_command_ends() -> None:
    """Whatever changes then."""
    course = Course(reloads=False)
    assert course.ended(3) is Act.NOTHING
    assert (course.phase, course.code) == (Phase.OVER, 3)
    assert course.changed() is Act.NOTHING


def test_command_is_started_anew_when_a_file_changes() -> None:
    """It is stopped first; another change meanwhile stops nothing more."""
    course = Course(reloads=True)
    assert course.changed() is Act.STOP
    assert course.changed() is Act.NOTHING
    assert course.ended(-15) is Act.START
    assert course.phase is Phase.RUNNING


def test_command_that_ended_is_started_anew_when_a_file_changes() -> None:
    """A mistake in a file does not end a run with --reload."""
    course = Course(reloads=True)
    assert course.ended(1) is Act.NOTHING
    assert course.phase is Phase.RESTING
    assert course.changed() is Act.START
    assert course.changed() is Act.STOP


def test_run_is_over_when_it_is_asked_while_its_command_is_started_anew() -> None:
    """Who presses Ctrl-C right after a save wants the end."""
    course = Course(reloads=True)
    course.changed()
    assert course.asked() is Act.STOP
    assert course.changed() is Act.NOTHING
    assert course.ended(0) is Act.NOTHING
    assert course.phase is Phase.OVER


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["uvicorn", "app:web"], "uvicorn"),
        (["./bin/serve"], "serve"),
        (["python", "app.py", "--port", "1"], "app.py"),
        (["/usr/bin/python3.12", "-X", "dev", "src/app.py"], "app.py"),
        (["python3", "-m", "shop.worker"], "shop.worker"),
        (["python", "-c", "print(1)"], "python"),
        (["python"], "python"),
    ],
)
def test_lines_of_a_command_have_its_name(words: list[str], name: str) -> None:
    """Of Python, that of the script or the module."""
    assert name_of(words) == name


def test_command_that_does_not_exist_is_told_before_anything_is_started() -> None:
    """With what a command looks like."""
    with pytest.raises(BadUsage) as told:
        check(["no-such-program", "app.py"])
    assert str(told.value) == (
        "no-such-program: there is no such program. After -- comes the command that starts your "
        "application: dispatcher run -- python app.py"
    )


def test_program_that_hides_the_package_is_told_before_anything_is_started() -> None:
    """Python would say that `dispatcher` is not a package."""
    with pytest.raises(BadUsage, match="hides the package `dispatcher` from itself"):
        check(["python", "shop/dispatcher.py"])
    check(["python", "dispatcher_app.py"])


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        (":8000", "127.0.0.1:8000"),
        ("8000", "127.0.0.1:8000"),
        ("localhost:1", "localhost:1"),
        ("[::1]:65535", "[::1]:65535"),
    ],
)
def test_endpoint_is_read_with_and_without_a_host(text: str, read: str) -> None:
    """Loopback is meant where none is named."""
    assert address(text) == read


@pytest.mark.parametrize("text", ["", "host", "host:", "http://127.0.0.1:8000", "a:0", "a:65536"])
def test_endpoint_is_refused_when_it_is_no_address(text: str) -> None:
    """With what is expected."""
    with pytest.raises(BadUsage) as told:
        address(text)
    assert str(told.value) == (f"--endpoint {text}: expected host:port, such as 127.0.0.1:8000")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://[::1]:8000"),
        ("localhost:8000", "http://localhost:8000"),
    ],
)
def test_application_that_listens_everywhere_is_reached_on_loopback(
    endpoint: str, url: str
) -> None:
    """A wildcard can be listened on, not connected to."""
    assert url_of(endpoint) == url


@pytest.mark.parametrize(
    ("code", "has_called", "rests", "said"),
    [
        (0, True, False, None),
        (0, True, True, "a.py has ended. It is started anew when a file changes."),
        (1, True, False, "a.py ended with 1."),
        (139, False, False, "a.py was ended by SIGSEGV, before it dispatched or ran a function."),
        (255, True, False, "a.py was ended by signal 127."),
        (
            0,
            False,
            False,
            "a.py ended without having dispatched or run a function: an application serves until "
            "it is stopped, as with app.serve().",
        ),
    ],
)
def test_end_of_a_command_is_told(
    code: int, has_called: bool, rests: bool, said: str | None
) -> None:
    """Where it tells something."""
    assert words.command_ended("a.py", code, has_called=has_called, rests=rests) == said


def test_end_of_the_server_is_told() -> None:
    """With what it ends."""
    assert words.server_ended(-9, "a.py") == "The server was ended by SIGKILL; a.py is stopped."
    assert words.server_ended(5, None) == "The server ended with 5."

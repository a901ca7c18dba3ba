"""`login` and `logout`, and which server and key the other commands take then."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.cli import logins, where
from dispatcher.cli.address import Server
from dispatcher.cli.errors import BadUsage
from dispatcher.cli.logins import Login
from dispatcher.testing.admin import MemoryAdmin
from dispatcher.testing.function_service import MemoryFunctions
from tests.integration.cli_running import Run, one_line, runner
from tests.integration.cli_serving import Served, served
from tests.integration.cli_terminal import Terminal

KEY = "the-key"
ELSEWHERE = Server("https", "dispatcher.example.com", 443)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process."""
    return runner(capsys, monkeypatch)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the login, in a home of its own."""
    monkeypatch.delenv("DISPATCHER_LOGIN")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "dispatcher" / "login.json"


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    """An API that asks for a key."""
    with served(MemoryAdmin(), (KEY.encode(),), MemoryFunctions()) as made:
        yield made


@pytest.fixture(scope="module")
def open_api() -> Iterator[Served]:
    """One that asks for none."""
    with served(MemoryAdmin(), (), MemoryFunctions()) as made:
        yield made


def test_login_keeps_address_and_key_for_other_commands(api: Served, run: Run, kept: Path) -> None:
    """Nobody else can read them; `logout` forgets them."""
    said = run("login", api.url, stdin=f"{KEY}\n")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"Commands talk to {api.url} now. `dispatcher logout` ends it.\n"
    assert json.loads(kept.read_text()) == {"url": api.url, "key": KEY}
    assert kept.stat().st_mode & 0o777 == 0o600
    assert run("stats").code == 0
    assert run("logout").out == "The key is forgotten.\n"
    assert not kept.exists()
    assert run("logout").out == "There is no login.\n"


def test_login_keeps_nothing_when_the_key_is_refused(api: Served, run: Run, kept: Path) -> None:
    """What was kept before stays."""
    logins.save(Login(ELSEWHERE, "old"))
    before = kept.read_text()
    assert one_line(run("login", api.url, stdin="wrong\n"), 8) == (
        f"dispatcher: error: {api.url} does not take this key: it has to be one of its API_KEYS.\n"
    )
    assert one_line(run("login", api.url), 8) == (
        f"dispatcher: error: {api.url} asks for a key: it has to be one of its API_KEYS.\n"
    )
    assert one_line(run("login", "http://127.0.0.1:9"), 7)
    assert one_line(run("login", "ftp://x"), 2)
    assert kept.read_text() == before
    assert list(kept.parent.iterdir()) == [kept]


def test_login_takes_the_key_of_a_file(api: Served, run: Run, kept: Path, tmp_path: Path) -> None:
    """For scripts."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert run("login", api.url, "--key-file", str(file)).code == 0
    assert json.loads(kept.read_text())["key"] == KEY


def test_login_needs_no_key_where_the_api_asks_for_none(
    open_api: Served, run: Run, kept: Path
) -> None:
    """Only the address is kept."""
    assert run("login", open_api.url).code == 0
    assert json.loads(kept.read_text()) == {"url": open_api.url, "key": None}


def test_login_asks_for_the_key_unseen_on_a_terminal(api: Served, kept: Path) -> None:
    """What is typed is not shown."""
    home = {"XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
    with Terminal("login", api.url, **home) as terminal:
        terminal.until(f"Key for {api.url}: ")
        terminal.press(f"{KEY}\r")
        assert terminal.wait() == 0
        assert KEY not in terminal.shown
    assert json.loads(kept.read_text())["key"] == KEY


def test_options_and_environment_win_over_the_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each for itself; the key of the login goes to its server only."""
    logins.save(Login(ELSEWHERE, "kept"))
    file = tmp_path / "key"
    file.write_text("of-file")

    def found(url: str | None = None, key_file: Path | None = None) -> tuple[str, str | None]:
        api = where.api(url, key_file)
        return str(api.server), api._key

    kept_url = str(ELSEWHERE)
    assert found() == (kept_url, "kept")
    assert found(kept_url) == (kept_url, "kept")
    assert found("http://other:1") == ("http://other:1", None)
    assert found(key_file=file) == (kept_url, "of-file")
    monkeypatch.setenv("DISPATCHER_KEY", "of-variable")
    assert found() == (kept_url, "of-variable")
    monkeypatch.delenv("DISPATCHER_KEY")
    monkeypatch.setenv("DISPATCHER_API", "http://variable:2")
    assert found() == ("http://variable:2", None)
    assert found(kept_url) == (kept_url, "kept")
    monkeypatch.delenv("DISPATCHER_API")
    monkeypatch.setenv("API_LISTEN", "127.0.0.1:3")
    assert found() == ("http://127.0.0.1:3", None)


def test_login_is_refused_when_others_can_read_it(kept: Path) -> None:
    """They could have changed it."""
    logins.save(Login(ELSEWHERE, "kept"))
    kept.chmod(0o644)
    with pytest.raises(BadUsage) as told:
        where.api(None, None)
    assert str(told.value) == (
        f"{kept}: others can read the key in it. Make it yours alone (`chmod 600 {kept}`), or run "
        "`dispatcher logout`"
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": "x y", "key": null}', '{"url": 1}'])
def test_login_is_refused_when_its_file_is_damaged(kept: Path, text: str) -> None:
    """One line, no traceback."""
    logins.save(Login(ELSEWHERE, "kept"))
    kept.write_text(text)
    with pytest.raises(BadUsage, match="login"):
        where.api(None, None)

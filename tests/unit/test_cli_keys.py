"""`dispatcher keys`, run as a command on a file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dispatcher.cli.app import app
from dispatcher.cli.errors import RefusedNow


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the key is to be."""
    path = tmp_path / "signing.pem"
    monkeypatch.setenv("SIGNING_KEY", str(path))
    monkeypatch.delenv("DISPATCHER_CONFIG", raising=False)
    return path


def run(*arguments: str) -> str:
    """What a command prints that ends well."""
    result = CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def refusal(*arguments: str) -> str:
    """What a command says that is refused."""
    with pytest.raises(RefusedNow) as caught:
        CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)
    return str(caught.value)


def keys() -> list[dict[str, Any]]:
    """All keys, as `--json` shows them."""
    found: list[dict[str, Any]] = json.loads(run("show", "--json"))["keys"]
    return found


def test_show_prints_one_line_of_32_bytes_and_makes_the_key(key_file: Path) -> None:
    """What DISPATCH_VERIFICATION_KEY takes, the same each time."""
    shown = run("show")
    assert key_file.exists()
    assert shown.count("\n") == 1
    assert len(base64.b64decode(shown, validate=False)) == 32
    assert run("show") == shown
    assert run("show", "--pem").startswith("-----BEGIN PUBLIC KEY-----\n")


def test_show_says_so_when_it_makes_the_key(key_file: Path) -> None:
    """Beside what it prints, and once: elsewhere than in the server's directory it is another."""
    first = CliRunner().invoke(app, ["keys", "show"], catch_exceptions=False)
    assert str(key_file) in first.stderr
    assert "SIGNING_KEY" in first.stderr
    assert first.stdout.count("\n") == 1
    again = CliRunner().invoke(app, ["keys", "show"], catch_exceptions=False)
    assert again.stderr == ""


def test_rotate_prints_the_key_that_signs_after_finish(key_file: Path) -> None:
    """And `show` the old one until then."""
    old = run("show")
    new = run("rotate")
    assert new != old
    assert run("show") == old
    assert run("show", "--next") == new
    assert [one["signs"] for one in keys()] == [True, False]
    assert [one["public_key"] + "\n" for one in keys()] == [old, new]
    assert run("rotate", "--finish") == new == run("show")
    assert len(keys()) == 1


def test_rotation_is_refused_when_it_is_not_its_turn() -> None:
    """A third key, or dropping the only one; the text says what to do."""
    assert "dispatcher keys rotate" in refusal("rotate", "--finish")
    assert "dispatcher keys rotate" in refusal("show", "--next")
    run("rotate")
    assert "--finish" in refusal("rotate")

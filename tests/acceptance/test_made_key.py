"""`serve --make-api-key`: a first start behind which nobody has to think of a key."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.acceptance.running import quick, run
from tests.acceptance.served import ServerProcess
from tests.acceptance.wire import get

_SERVE = ("sh", "-c", 'exec "$0" -m dispatcher serve --make-api-key')


def test_key_is_made_at_the_first_start_and_used_by_the_next(tmp_path: Path) -> None:
    """It is said where it lies, only its owner may read it, and without it nobody is let in."""
    file = tmp_path / "keys" / "api.key"
    keys = []
    for start in range(2):
        with ServerProcess(tmp_path, _SERVE, **quick(API_KEYS_FILE=str(file))) as server:
            made = [line["path"] for line in server.events("api.key_made")]
            assert made == ([str(file)] if start == 0 else [])
            key = file.read_text().strip()
            keys.append(key)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert get(server.api, "/v1/stats").status == 401
            assert get(server.api, "/v1/stats", f"Authorization: Bearer {key}").status == 200
    assert keys[0] == keys[1]
    assert len(keys[0]) >= 32
    assert [one.name for one in file.parent.iterdir()] == ["api.key"]


def test_key_that_cannot_be_made_is_said_in_a_line(tmp_path: Path) -> None:
    """No name for the file, or a place that is none: exit code 2."""
    for file, expected in (("", "API_KEYS_FILE"), ("/dev/null/x", "cannot be made")):
        ended = run(tmp_path, "serve", "--make-api-key", API_KEYS_FILE=file)
        assert ended.returncode == 2
        assert expected in ended.stderr
        assert "Traceback" not in ended.stderr

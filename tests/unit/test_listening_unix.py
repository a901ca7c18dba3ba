"""The files of unix sockets that are listened on."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from dispatcher.errors import ConfigError
from dispatcher.listening import unix
from dispatcher.listening.unix import UnixPlace, unix_socket


async def test_file_of_another_user_is_not_said_to_be_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perhaps nobody listens there: a server that once ran as root may have left it. It stays, and
    what to do is said."""
    path = tmp_path / "listen.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    monkeypatch.setattr(unix, "_try_to_connect", lambda _: errno.EACCES)
    with pytest.raises(ConfigError, match=r"LISTEN=unix:.*another user.*remove it"):
        await unix_socket(UnixPlace(str(path), 0o660), setting="LISTEN")
    assert path.exists()

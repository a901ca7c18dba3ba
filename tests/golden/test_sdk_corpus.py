"""Activations that were recorded once are replayed by other processes, Pythons and hash seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.testing.interpreters import MINORS, interpreters, run_module

_CORPUS = Path(__file__).parent / "sdk" / "programs_v1.json.gz"


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
@pytest.mark.parametrize("version", [f"3.{minor}" for minor in MINORS])
def test_recorded_programs_do_the_same_when_replayed_elsewhere(
    version: str, hash_seed: str
) -> None:
    """A call that was suspended goes on in another process, of another Python, as if nothing had
    been: the same commands, the same state."""
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"There is no Python {version} on PATH, nor in pyenv or uv.")
    module = "dispatcher.testing.programs.corpus"
    assert run_module(python, module, str(_CORPUS), hash_seed=hash_seed) == "status 0"

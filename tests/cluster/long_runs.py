"""Which tests of this folder are left to runs that may take long: the others take two minutes."""

from __future__ import annotations

import os
from typing import Final

import pytest

IS_LONG: Final = bool(os.environ.get("CHAOS_MINUTES"))

in_long_runs = pytest.mark.skipif(not IS_LONG, reason="CHAOS_MINUTES has all of them run")

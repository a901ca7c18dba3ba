"""Which event loops the integration tests run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run delivery's tests on both loops: they differ in when they write and how they report ends.

    The server runs on uvloop; the standard one shows what merely happens to work there.
    """
    if item.path.name.startswith("test_delivery_"):
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}

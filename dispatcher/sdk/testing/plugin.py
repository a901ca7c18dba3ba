"""A plugin of pytest: `pytest_plugins = ["dispatcher.sdk.testing.plugin"]` in conftest.py.

```python
def test_welcome(environment):
    env = environment(welcome)
    assert env.run(welcome, ["Ada"]) == ["Hello, Ada!"]
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dispatcher.sdk.testing.environment import Environment


@pytest.fixture
def environment() -> Iterator[Callable[..., Environment]]:
    """Makes environments, with the arguments of `Environment`; they are closed after the test."""
    with ExitStack() as stack:
        yield lambda *functions, **options: stack.enter_context(Environment(*functions, **options))

"""Random programs written with the SDK, run by the testing kit, and crashed everywhere."""

from __future__ import annotations

import json

from hypothesis import given, settings

from dispatcher.sdk.testing import Environment
from dispatcher.testing.programs import strategies
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.quiet import silent
from dispatcher.testing.programs.whole import program
from tests.effort import times

PROGRAMS = times(5)


@settings(max_examples=PROGRAMS)
@given(strategies.programs())
def test_function_does_the_same_when_it_is_crashed_everywhere(node: Node) -> None:
    """Calls, stored steps and result are those of a run without a crash, whether the body goes on
    or is replayed each time; and nothing is said by the way."""
    text = json.dumps(node.to_json())
    with silent():
        with Environment(program) as env:
            replayed = env.run(program, text)
        with Environment(program) as env:
            assert env.crash_everywhere(program, text) == replayed

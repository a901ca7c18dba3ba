"""The arguments that our SDK writes for functions of dispatch-py, as that reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dispatcher.protocol.messages import Pickled
from dispatcher.sdk.values import encode_pickled_arguments

READ = """
import pickle, sys
import dispatch.proto

found = pickle.loads(sys.stdin.buffer.read())
assert type(found) is dispatch.proto.Arguments
print(found.args, found.kwargs)
"""


def test_the_arguments_are_read_by_dispatch_py(python: Path) -> None:
    """An object of its own class, whose name we only write."""
    args, kwargs = (1, "a", [2.5, {"b": None}]), {"k": (1,)}
    written = Pickled.FromString(encode_pickled_arguments("theirs", args, kwargs).data)

    read = subprocess.run(
        [python, "-c", READ], input=written.pickled_value, capture_output=True, check=True
    )

    assert read.stdout.decode() == f"{args} {kwargs}\n"

"""Plain or durable is read from bytecode, and each Python has a bytecode of its own."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from dispatcher.testing.interpreters import MINORS, ROOT, interpreters

CASES = Path(__file__).with_name("test_sdk_decide.py")

PROGRAM = """
import importlib.machinery, importlib.util, sys, types

class Stand(types.ModuleType):
    '''In place of cryptography, which is compiled for one version, and signs nothing here.'''
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})

class Standing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Stand(spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Standing())
root, file, packages = sys.argv[1:]
sys.path[:0], sys.path[len(sys.path):] = [root], [packages]
try:
    import google.protobuf.message, pytest
except ImportError as error:
    sys.exit(f"not usable: {error}")

spec = importlib.util.spec_from_file_location("cases", file)
cases = sys.modules["cases"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
for body, is_durable, way in cases.CASES:
    judged = cases.judged(body)
    if (judged.is_durable, " → ".join(judged.chain)) != (is_durable, way):
        print(body, "is", judged, judged.chain)
print(len(cases.CASES), "judged on", sys.version_info.minor)
"""


@pytest.mark.parametrize("minor", MINORS)
def test_bodies_are_judged_the_same_by_each_python(minor: int) -> None:
    """A call that was begun as durable would be plain elsewhere, and the other way round."""
    python = interpreters().get(f"3.{minor}")
    if python is None:
        pytest.skip(f"There is no Python 3.{minor} on PATH, nor in pyenv or uv.")
    done = subprocess.run(
        [str(python), "-c", PROGRAM, str(ROOT), str(CASES), sysconfig.get_path("purelib")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PATH": os.environ.get("PATH", ""), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
    )
    if done.stderr.startswith("not usable: "):
        pytest.skip(f"Python 3.{minor} can't use the packages of this one: {done.stderr}")
    count, _, rest = done.stdout.partition(" ")
    assert rest == f"judged on {minor}\n", done.stdout + done.stderr
    assert int(count) > 50

"""Writes dispatcher/protocol/generated from the .proto files, and nothing else.

    pip install -e '.[dev]' && python config/protocol/generate.py

The files are descriptors, as bytes, and stubs for mypy; dispatcher/protocol/messages.py makes the
classes of the descriptors. What protoc usually generates for Python would register the messages in
protobuf's default pool, where another package of the same process may have them already.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

PACKAGE = Path(__file__).parents[2] / "dispatcher" / "protocol"
OWN = (
    "dispatch/sdk/v1/sdk.proto",
    "dispatch/sdk/python/v1/pickled.proto",
    "dispatcher/sdk/v1/value.proto",
)
# What values and Connect's JSON need besides what the messages import.
WELL_KNOWN = tuple(f"google/protobuf/{name}.proto" for name in ("empty", "struct", "wrappers"))

HEAD = '''"""The messages: a serialized FileDescriptorProto a file, those that are imported first.

Written by config/protocol/generate.py; do not edit.
"""

from __future__ import annotations

from typing import Final

FILES: Final[tuple[bytes, ...]] = (
'''


def descriptors() -> FileDescriptorSet:
    """What protoc makes of the .proto files; a file stands after all that it imports."""
    with tempfile.NamedTemporaryFile() as out:
        run(f"--descriptor_set_out={out.name}", "--include_imports", *WELL_KNOWN, *OWN)
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


def stubs() -> dict[str, str]:
    """Name of a file in `generated` -> its text."""
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    with tempfile.TemporaryDirectory() as folder:
        run(f"--plugin=protoc-gen-mypy={plugin}", f"--mypy_out=quiet:{folder}", *OWN)
        return {path.name: adapted(path.read_text()) for path in Path(folder).rglob("*.pyi")}


def adapted(stub: str) -> str:
    """Fields of an enum take any int, as they do at run time: statuses.Status is an IntEnum."""
    return stub.replace("Global___Status.ValueType", "_builtins.int")


def run(*arguments: str) -> None:
    """Run protoc. Raises SystemExit when it refuses; it has said why."""
    includes = (f"-I{PACKAGE / 'proto'}", f"-I{files('grpc_tools') / '_proto'}")
    if protoc.main(["protoc", *includes, *arguments]):
        raise SystemExit(1)


def written(file: bytes) -> str:
    """The literal of one file, 24 bytes a line."""
    lines = (f"        {file[at : at + 24]!r}\n" for at in range(0, len(file), 24))
    return f"    (\n{''.join(lines)}    ),\n"


def main() -> None:
    generated = PACKAGE / "generated"
    serialized = (file.SerializeToString(deterministic=True) for file in descriptors().file)
    body = "".join(map(written, serialized))
    (generated / "descriptors.py").write_text(f"{HEAD}{body})\n", encoding="utf-8")
    for name, text in stubs().items():
        (generated / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

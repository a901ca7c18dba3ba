"""The messages of the Dispatch protocol: their bytes, and the descriptor pool they stand in."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import any_pb2, descriptor_pb2

from dispatcher.protocol import messages
from dispatcher.protocol.generated.descriptors import FILES
from dispatcher.protocol.messages import (
    Any,
    Call,
    DispatchRequest,
    Duration,
    Int64Value,
    Pickled,
    Poll,
    PollResult,
    RunRequest,
    RunResponse,
    Timestamp,
)

ROOT = Path(__file__).parents[2]
INT64 = "type.googleapis.com/google.protobuf.Int64Value"
PICKLED = "buf.build/stealthrocket/dispatch-proto/dispatch.sdk.python.v1.Pickled"
OK_EXIT = bytes.fromhex("080112380a3612340a2e") + INT64.encode() + bytes.fromhex("12020802")


def test_run_response_of_a_function_that_returned_2_has_the_bytes_dispatch_py_sends() -> None:
    """The 60 bytes that dispatch-py answered a run with, written and read."""
    response = RunResponse(status=1)
    response.exit.result.output.Pack(Int64Value(value=2))
    assert response.SerializeToString() == OK_EXIT
    read = RunResponse.FromString(OK_EXIT)
    assert read.WhichOneof("directive") == "exit"
    assert read.exit.result.output.type_url == INT64


def test_dispatch_request_has_the_bytes_dispatch_py_sends() -> None:
    """The 185 bytes of a Dispatch of dispatch-py, around a pickle nobody looks at."""
    pickle = bytes.fromhex("8004953e") + bytes(69)
    call = Call(endpoint="http://127.0.0.1:7802", function="parent")
    call.input.type_url = PICKLED
    call.input.value = Pickled(pickled_value=pickle).SerializeToString()
    data = DispatchRequest(calls=[call]).SerializeToString()
    assert data == b"".join(
        (
            bytes.fromhex("0ab6011215") + b"http://127.0.0.1:7802",
            bytes.fromhex("1a06") + b"parent",
            bytes.fromhex("2294010a45") + PICKLED.encode(),
            bytes.fromhex("124b0a49") + pickle,
        )
    )
    assert len(data) == 185


def test_run_request_of_the_signing_example_reads_as_function_and_id() -> None:
    """The body of the protocol's test vector."""
    request = RunRequest.FromString(bytes.fromhex("0a046563686f2202643032026430"))
    assert (request.function, request.dispatch_id, request.root_dispatch_id) == ("echo", "d0", "d0")
    assert request.WhichOneof("directive") is None


def test_state_has_field_6_in_a_poll_and_field_4_in_its_result() -> None:
    """The two numbers differ, and so do both from the untyped state's."""
    state = Any(type_url="t", value=b"v")
    assert Poll(typed_coroutine_state=state).SerializeToString()[0] == 6 << 3 | 2
    assert PollResult(typed_coroutine_state=state).SerializeToString()[0] == 4 << 3 | 2
    assert Poll(coroutine_state=b"s").SerializeToString() == b"\x0a\x01s"
    assert PollResult(coroutine_state=b"s").SerializeToString() == b"\x0a\x01s"


def test_correlation_ids_have_64_bits() -> None:
    """dispatch-go counts from a random number, which may be the highest there is."""
    data = Call(correlation_id=2**64 - 1).SerializeToString()
    assert Call.FromString(data).correlation_id == 2**64 - 1


def test_unknown_fields_and_types_are_written_as_they_were_read() -> None:
    """A newer SDK's fields, and values of a type nobody here knows, pass through."""
    state = Any(type_url="example.com/some.Unknown", value=b"\xff\x00not a message")
    data = Poll(typed_coroutine_state=state, min_results=1).SerializeToString()
    data += bytes.fromhex("e2bf0503") + b"new"
    read = Poll.FromString(data)
    assert read.SerializeToString() == data
    assert read.typed_coroutine_state.value == b"\xff\x00not a message"


def test_well_known_types_of_the_private_pool_have_their_methods() -> None:
    """Pack, and conversions of times, as in google.protobuf."""
    packed = Any()
    packed.Pack(Duration(seconds=90))
    assert packed.type_url == "type.googleapis.com/google.protobuf.Duration"
    call = Call(expiration=Duration(seconds=90))
    assert call.expiration.ToTimedelta().total_seconds() == 90
    request = RunRequest(creation_time=Timestamp(seconds=1, nanos=5_000))
    assert request.creation_time.ToMicroseconds() == 1_000_005


def test_message_of_the_default_pool_is_refused() -> None:
    """Mixing the pools is an error, not silent damage."""
    with pytest.raises(TypeError):
        Call(input=any_pb2.Any(type_url="t"))


CONFLICT = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

def register():
    file = descriptor_pb2.FileDescriptorProto(
        name="dispatch/sdk/v1/sdk.proto", package="dispatch.sdk.v1", syntax="proto3"
    )
    message = file.message_type.add(name="Call")
    message.field.add(name="other", number=1, type=9, label=1)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())

def use():
    from dispatcher.protocol.messages import Call
    assert Call(endpoint="http://a").SerializeToString() == b"\\x12\\x08http://a"

for step in ({order}):
    step()
found = descriptor_pool.Default().FindMessageTypeByName("dispatch.sdk.v1.Call")
theirs = message_factory.GetMessageClass(found)
assert theirs(other="x").SerializeToString() == b"\\x0a\\x01x"
"""


@pytest.mark.parametrize("order", ["register, use", "use, register"])
def test_other_package_with_the_same_names_can_be_in_the_process(order: str) -> None:
    """dispatch-py registers dispatch.sdk.v1 in the default pool, before or after us."""
    subprocess.run([sys.executable, "-c", CONFLICT.replace("{order}", order)], check=True, cwd=ROOT)


def test_generated_descriptors_are_what_the_proto_files_say() -> None:
    """Whoever changes a .proto file runs config/protocol/generate.py."""
    spec = importlib.util.spec_from_file_location(
        "generate", ROOT / "config" / "protocol" / "generate.py"
    )
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    committed = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in FILES]
    compiled = {file.name: file for file in generate.descriptors().file}
    for file in committed:
        if file.name.startswith("dispatch/"):
            assert file == compiled[file.name]
    assert {file.name for file in committed} == set(compiled)


def test_all_messages_of_the_pool_are_exported() -> None:
    """A message that is added to a .proto file gets its name in messages.py."""
    own = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in FILES]
    names = {
        m.name for file in own if file.package.startswith("dispatch") for m in file.message_type
    }
    assert names <= set(messages.__all__)

"""The messages of the Dispatch protocol, and the well-known types that go with them.

They stand in a descriptor pool of their own. An application may have another package in its process
that registers the same names in protobuf's default pool (dispatch-py does), and a name stands once
in a pool. So a message of this module takes only parts of this module: its `Any`, `Duration` and so
on, never those of `google.protobuf.*_pb2`; protobuf raises TypeError for those.

What a message holds that is not known here (fields with other numbers, values of a type that
nobody here has heard of) is kept when it is parsed and written when it is serialized. An `Any` is a
name and bytes; neither is looked at.

The stubs in `generated` say which fields there are; config/protocol/generate.py renews them from
the .proto files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from dispatcher.protocol.generated.descriptors import FILES

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.empty_pb2 import Empty
    from google.protobuf.struct_pb2 import ListValue, Struct, Value
    from google.protobuf.timestamp_pb2 import Timestamp
    from google.protobuf.wrappers_pb2 import (
        BoolValue,
        BytesValue,
        DoubleValue,
        FloatValue,
        Int32Value,
        Int64Value,
        StringValue,
        UInt32Value,
        UInt64Value,
    )

    from dispatcher.protocol.generated.pickled_pb2 import Pickled
    from dispatcher.protocol.generated.sdk_pb2 import (
        Call,
        CallResult,
        DispatchRequest,
        DispatchResponse,
        Error,
        Exit,
        Poll,
        PollResult,
        RecallRequest,
        RecallResponse,
        RunRequest,
        RunResponse,
    )
    from dispatcher.protocol.generated.value_pb2 import (
        MarkedList,
        MarkedString,
        MarkedStruct,
        MarkedValue,
    )

__all__ = [
    "POOL",
    "Any",
    "BoolValue",
    "BytesValue",
    "Call",
    "CallResult",
    "DispatchRequest",
    "DispatchResponse",
    "DoubleValue",
    "Duration",
    "Empty",
    "Error",
    "Exit",
    "FloatValue",
    "Int32Value",
    "Int64Value",
    "ListValue",
    "MarkedList",
    "MarkedString",
    "MarkedStruct",
    "MarkedValue",
    "Pickled",
    "Poll",
    "PollResult",
    "RecallRequest",
    "RecallResponse",
    "RunRequest",
    "RunResponse",
    "StringValue",
    "Struct",
    "Timestamp",
    "UInt32Value",
    "UInt64Value",
    "Value",
]

POOL: Final = DescriptorPool()
"""Where the messages of this module are registered, and nothing else is."""

for _file in FILES:
    POOL.AddSerializedFile(_file)

if not TYPE_CHECKING:

    def _class(name: str) -> type:
        return GetMessageClass(POOL.FindMessageTypeByName(name))

    Call = _class("dispatch.sdk.v1.Call")
    CallResult = _class("dispatch.sdk.v1.CallResult")
    DispatchRequest = _class("dispatch.sdk.v1.DispatchRequest")
    DispatchResponse = _class("dispatch.sdk.v1.DispatchResponse")
    Error = _class("dispatch.sdk.v1.Error")
    Exit = _class("dispatch.sdk.v1.Exit")
    Poll = _class("dispatch.sdk.v1.Poll")
    PollResult = _class("dispatch.sdk.v1.PollResult")
    RecallRequest = _class("dispatch.sdk.v1.RecallRequest")
    RecallResponse = _class("dispatch.sdk.v1.RecallResponse")
    RunRequest = _class("dispatch.sdk.v1.RunRequest")
    RunResponse = _class("dispatch.sdk.v1.RunResponse")
    Pickled = _class("dispatch.sdk.python.v1.Pickled")

    MarkedList = _class("dispatcher.sdk.v1.MarkedList")
    MarkedString = _class("dispatcher.sdk.v1.MarkedString")
    MarkedStruct = _class("dispatcher.sdk.v1.MarkedStruct")
    MarkedValue = _class("dispatcher.sdk.v1.MarkedValue")

    Any = _class("google.protobuf.Any")
    BoolValue = _class("google.protobuf.BoolValue")
    BytesValue = _class("google.protobuf.BytesValue")
    DoubleValue = _class("google.protobuf.DoubleValue")
    Duration = _class("google.protobuf.Duration")
    Empty = _class("google.protobuf.Empty")
    FloatValue = _class("google.protobuf.FloatValue")
    Int32Value = _class("google.protobuf.Int32Value")
    Int64Value = _class("google.protobuf.Int64Value")
    ListValue = _class("google.protobuf.ListValue")
    StringValue = _class("google.protobuf.StringValue")
    Struct = _class("google.protobuf.Struct")
    Timestamp = _class("google.protobuf.Timestamp")
    UInt32Value = _class("google.protobuf.UInt32Value")
    UInt64Value = _class("google.protobuf.UInt64Value")
    Value = _class("google.protobuf.Value")

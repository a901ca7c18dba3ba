"""The messages as JSON, as curl sends them."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.protocol.connect import Code, ConnectError
from dispatcher.protocol.jsonform import from_json, to_json
from dispatcher.protocol.messages import (
    Any,
    Call,
    CallResult,
    DispatchRequest,
    DispatchResponse,
    Duration,
    Pickled,
)
from dispatcher.protocol.values import to_any

GOOGLE = "type.googleapis.com/google.protobuf."


def test_dispatch_request_is_read_from_json() -> None:
    """What a person types for curl."""
    body = {
        "calls": [
            {
                "endpoint": "http://127.0.0.1:8000",
                "function": "greet",
                "input": {"@type": f"{GOOGLE}StringValue", "value": "Ada"},
                "expiration": "90s",
                "correlationId": "18446744073709551615",
            }
        ]
    }
    assert from_json(DispatchRequest, json.dumps(body).encode()) == DispatchRequest(
        calls=[
            Call(
                endpoint="http://127.0.0.1:8000",
                function="greet",
                input=to_any("Ada"),
                expiration=Duration(seconds=90),
                correlation_id=2**64 - 1,
            )
        ]
    )


def test_dispatch_response_is_one_line_of_json() -> None:
    """Names in camel case, as protobuf has it."""
    assert to_json(DispatchResponse(dispatch_ids=["a", "b"])) == b'{"dispatchIds": ["a", "b"]}'


@pytest.mark.parametrize(
    "value", [None, True, -(2**63), 1.5, "ä", b"\0\xff", [1.0, {"a": [None, ""]}], {}]
)
def test_result_is_read_as_it_was_written(value: object) -> None:
    """Each type of a value that JSON has a form for."""
    result = CallResult(dispatch_id="d", output=to_any(value))
    assert from_json(CallResult, to_json(result)) == result


def test_pickled_value_is_bytes_in_json() -> None:
    """It is a message like others, and nobody looks into it."""
    result = CallResult()
    result.output.Pack(
        Pickled(pickled_value=b"\x80\x04"), "buf.build/stealthrocket/dispatch-proto/"
    )
    assert json.loads(to_json(result))["output"] == {
        "@type": "buf.build/stealthrocket/dispatch-proto/dispatch.sdk.python.v1.Pickled",
        "pickledValue": "gAQ=",
    }


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Any(type_url="buf.build/x/coroutine.v1.State", value=b"s"), "coroutine.v1.State"),
        (Any(type_url=f"{GOOGLE}Value", value=b"\xff"), "Value"),
    ],
)
def test_value_without_json_form_is_named(value: Any, why: str) -> None:
    """The message says that the binary form has it."""
    with pytest.raises(ConnectError, match=why) as raised:
        to_json(CallResult(output=value))
    assert raised.value.code is Code.UNIMPLEMENTED
    assert raised.value.message.endswith("others need application/proto.")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "expected a DispatchRequest as a JSON object"),
        (b"[]", "expected a DispatchRequest as a JSON object"),
        (b"null", "expected a DispatchRequest as a JSON object"),
        (b"{", "line 1 column 2"),
        (b'{"calls": "\xff"}', "utf-8"),
        (b'{"calls": ' + b"[" * 100_000, "recursion"),
        (b'{"calls": [], "calls": []}', "duplicate key calls"),
        (b'{"calls": 1}', "calls"),
        (b'{"calls": [1]}', "calls"),
        (b'{"calls": [{"fucntion": "f"}]}', 'no field named "fucntion"'),
        (b'{"calls": [{"correlationId": -1}]}', "correlationId field: Value out of range"),
        (b'{"calls": [{"expiration": "5"}]}', "expiration field"),
        (b'{"calls": [{"input": 5}]}', "input field: .* In JSON a value is written"),
        (b'{"calls": [{"input": "x"}]}', "input field: .* In JSON a value is written"),
        (b'{"calls": [{"input": [1]}]}', "input field: .* In JSON a value is written"),
        (b'{"calls": [{"input": {"value": 1}}]}', "@type is missing.* In JSON a value is written"),
        (b'{"calls": [{"input": {"@type": "x/y.Z"}}]}', "x/y.Z.* others need application/proto"),
    ],
)
def test_body_that_is_no_request_is_refused(body: bytes, why: str) -> None:
    """The message names the field, on one line."""
    with pytest.raises(ConnectError, match=why) as raised:
        from_json(DispatchRequest, body)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert "\n" not in raised.value.message


names = st.sampled_from(["calls", "input", "@type", "value", "function", "expiration", "fields"])
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(
        [GOOGLE + kind for kind in ("Any", "Value", "Int64Value", "Duration", "Empty")]
    ),
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(trees)
def test_any_json_is_read_or_refused_as_an_invalid_argument(tree: object) -> None:
    """Nothing a caller sends becomes an error of another kind."""
    bodies = (tree, {"calls": tree}, {"calls": [tree]}, {"calls": [{"input": tree}]})
    for body in bodies:
        with contextlib.suppress(ConnectError):
            from_json(DispatchRequest, json.dumps(body).encode())

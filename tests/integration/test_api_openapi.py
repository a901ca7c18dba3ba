"""/openapi.json: what it describes is what is answered, for requests that are made from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.core.result import Ok

from dispatcher.testing.admin import message_id
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import MemoryFunctions, call_id
from dispatcher.testing.sessions import MemorySessions
from tests.effort import times

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
schemathesis.serializer.alias("message/http", "text/plain")
schemathesis.serializer.alias("application/proto", "text/plain")

DOCUMENT = ApiBench(functions=MemoryFunctions(), sessions=MemorySessions()).server.description()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
ENDLESS = "GET /v1/events"
# Any text or bytes are a body there, or may be; what is wrong in it the description does not know.
ANY_BODY = {
    "POST /v1/import",
    "POST /v1/promises/{name}",
    "POST /v1/channels/{name}",
    "POST /dispatch.sdk.v1.DispatchService/Dispatch",
    "POST /dispatch.sdk.v1.DispatchService/Recall",
    "POST /dispatch.sdk.v1.DispatchService/Wait",
}
# The ids that `python -m dispatcher.testing.admin` invents, of messages, dead letters and calls.
KNOWN_IDS = [
    *(message_id(number) for number in (*range(1, 101), *range(1_001, 1_251))),
    *(call_id(number) for number in range(1, 101)),
]
CHECKS = [
    content_type_conformance,
    negative_data_rejection,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


def trials() -> list[tuple[Any, GenerationMode]]:
    """Every call but the one that does not end, with right requests, and with wrong ones where
    something other than an id can be wrong. Those that may empty the server are last."""
    found: list[Any] = [one.ok() for one in SCHEMA.get_all_operations() if isinstance(one, Ok)]
    found = [one for one in found if one.label != ENDLESS]
    found.sort(key=lambda one: one.label.endswith(("s/redrive", "s/purge")))
    wrong = [one for one in found if (one.query or one.body) and one.label not in ANY_BODY]
    return [
        *((one, GenerationMode.POSITIVE) for one in found),
        *((one, GenerationMode.NEGATIVE) for one in wrong),
    ]


TRIALS = trials()


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address of a server with invented data, in a process of its own."""
    command = [sys.executable, "-m", "dispatcher.testing.admin", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("operation", "mode"),
    [pytest.param(*one, id=f"{one[0].label} {one[1].value}") for one in TRIALS],
)
def test_every_answer_is_as_described_for_requests_made_from_the_description(
    served: str, operation: Any, mode: GenerationMode
) -> None:
    """Status, content type and shape. Wrong requests are refused; none makes the server fail."""

    @settings(
        max_examples=times(7),
        database=None,
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(operation.as_strategy(mode), st.none() | st.sampled_from(KNOWN_IDS))
    def ask(case: Case[Any], known_id: str | None) -> None:
        if known_id is not None and "id" in (case.path_parameters or {}):
            case.path_parameters["id"] = known_id
        case.call_and_validate(base_url=served, checks=CHECKS)

    ask()


def test_every_call_of_the_documentation_is_described_and_no_other() -> None:
    """docs/api.md has the table for people."""
    described = {
        f"{method.upper()} {path}" for path, calls in DOCUMENT["paths"].items() for method in calls
    }
    text = read_documentation()
    assert described == set(
        re.findall(r"^\| `((?:GET|PUT|POST|PATCH|DELETE) [^`]*)` \|", text, re.M)
    )


def test_every_slug_of_the_description_is_documented() -> None:
    """And the names of calls are there once, for those who generate clients."""
    calls = [call for path in DOCUMENT["paths"].values() for call in path.values()]
    names = [call["operationId"] for call in calls]
    assert len(set(names)) == len(names)
    for call in calls:
        for answer in call["responses"].values():
            for slug in re.findall(r"`([a-z]+_[a-z_]+)`", answer["description"]):
                assert f"`{slug}`" in read_documentation("errors")


@pytest.mark.parametrize("path", ["/v1/promises/{name}", "/v1/channels/{name}"])
def test_value_from_outside_is_any_json_text_protobuf_or_nothing(path: str) -> None:
    """Null is a value like any other, and a promise may be of nothing."""
    body = DOCUMENT["paths"][path]["post"]["requestBody"]
    assert body["required"] is False
    assert set(body["content"]) == {"application/json", "text/plain", "application/proto"}
    assert "type" not in body["content"]["application/json"]["schema"]


def test_every_reference_leads_somewhere_and_every_model_is_used_or_an_event() -> None:
    """A document with loose ends makes no client."""
    text = json.dumps(DOCUMENT)
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    models = set(DOCUMENT["components"]["schemas"])
    assert referred <= models
    assert {name for name in models - referred if not name.endswith("Event")} == set()


def test_description_asks_for_a_key_when_keys_are_set() -> None:
    """Everywhere but for health, and says 401 there."""
    for path, calls in ApiBench((b"key",)).server.description()["paths"].items():
        for call in calls.values():
            is_open = path in {"/healthz", "/readyz"}
            assert call["security"] == ([] if is_open else [{"key": []}])
            assert ("401" in call["responses"]) is not is_open


def read_documentation(name: str = "api") -> str:
    """The text of a page."""
    return (Path(__file__).parents[2] / "docs" / f"{name}.md").read_text(encoding="utf-8")

"""/openapi.json: the table of routes in OpenAPI 3.1, with the models that check and answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from dispatcher.api.event_models import EVENTS
from dispatcher.api.models import ConnectFailure, Error, Input
from dispatcher.api.routes import JSON, AnyRoute

_REFERENCE: Final = "#/components/schemas/{model}"
_KEY: Final = "key"

_Json = dict[str, Any]
_Mode = Literal["validation", "serialization"]


def document(routes: Sequence[AnyRoute], *, version: str, needs_key: bool) -> _Json:
    """Describe the API; with `needs_key` every call that is not open asks for a key."""
    paths: dict[str, _Json] = {}
    for route in routes:
        operations = paths.setdefault(route.path, {})
        operations[route.method.lower()] = _operation(route, needs_key=needs_key)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Dispatcher",
            "version": version,
            "description": "The management API of a durable HTTP dispatcher.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes),
            "securitySchemes": {_KEY: {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: AnyRoute, *, needs_key: bool) -> _Json:
    operation: _Json = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_parameters(route.place, "path"), *_parameters(route.query, "query")],
        "responses": _responses(route, needs_key=needs_key),
        "security": [{_KEY: []}] if needs_key and not route.is_open else [],
    }
    if route.has_body:
        # What a handler reads by itself, and has a model, may be left out.
        required = route.streams is None
        operation["requestBody"] = {"required": required, "content": _content(route.body, JSON)}
    elif route.streams == JSON:  # any value, and maybe none
        content = {JSON: {"schema": {"description": "Any JSON value; null is one too."}}}
        content |= {kind: {"schema": {"type": "string"}} for kind in route.also_streams}
        operation["requestBody"] = {"required": False, "content": content}
    elif route.streams is not None:
        content = {route.streams: {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(model: type[Input], place: Literal["path", "query"]) -> Iterable[_Json]:
    """The fields of a flat model."""
    schema = _without_null(model.model_json_schema(ref_template=_REFERENCE))
    required = schema.get("required", [])
    for name, described in schema.get("properties", {}).items():
        described.pop("title", None)
        text = described.pop("description", None)
        yield {
            "name": name,
            "in": place,
            "required": name in required,
            **({"description": text} if text else {}),
            "schema": described,
        }


def _responses(route: AnyRoute, *, needs_key: bool) -> _Json:
    success: _Json = {"description": HTTPStatus(route.status).phrase}
    if route.answer is not None:
        success["content"] = _content(route.answer, route.content_type)
    elif route.content_type != JSON:
        success["content"] = {route.content_type: {"schema": {"type": "string"}}}
    refusals = {**_common_refusals(route, needs_key=needs_key), **route.refusals}
    error = ConnectFailure if route.is_rpc else Error
    also = {
        str(status): {"description": text, "content": _content(model, JSON)}
        for status, (model, text) in route.also.items()
    }
    return (
        {str(route.status): success}
        | also
        | {
            str(status): {"description": text, "content": _content(error, JSON)}
            for status, text in sorted(refusals.items())
        }
    )


def _common_refusals(route: AnyRoute, *, needs_key: bool) -> Mapping[int, str]:
    found = {
        400: "A parameter or the body is not as described.",
        500: "An error nobody foresaw: `internal_error`.",
    }
    if not route.is_open and needs_key:
        found[401] = "The key is missing or wrong: `key_invalid`."
        found[403] = "The role of the key may not do this: `key_forbidden`."
    if not route.is_open and not needs_key:
        found[403] = "The call comes from a page of another site: `host_refused`, `origin_refused`."
    if not route.is_open:
        found[503] = "Nothing can be read now; `Retry-After` says when to ask."
    if route.takes_body:
        found[408] = "The body stopped arriving: `body_timeout`."
        found[413] = "The body is too large: `body_too_large`."
        found[415] = "The body is not JSON: `content_type_invalid`."
        found[503] = "Nothing can be stored now, as `/readyz` says; `Retry-After` says when to ask."
    return found


def _content(model: type[BaseModel], content_type: str) -> _Json:
    return {content_type: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}


def _schemas(routes: Sequence[AnyRoute]) -> _Json:
    """Every model that is referred to, by its name."""
    models: list[tuple[type[BaseModel], _Mode]] = [(Error, "serialization")]
    models += [(model, "serialization") for model in EVENTS.values()]
    if any(route.is_rpc for route in routes):
        models.append((ConnectFailure, "serialization"))
    for route in routes:
        if route.answer is not None:
            models.append((route.answer, "serialization"))
        models += [(model, "serialization") for model, _ in route.also.values()]
        if route.has_body:
            models.append((route.body, "validation"))
    _, found = models_json_schema(list(dict.fromkeys(models)), ref_template=_REFERENCE)
    bodies = {route.body.__name__ for route in routes if route.has_body}
    return {
        name: _without_null(schema) if name in bodies else schema
        for name, schema in sorted(found["$defs"].items())
    }


def _without_null(schema: Any) -> Any:
    """A schema of an `Input`, which takes no null: absent is absent."""
    if isinstance(schema, list):
        return [_without_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _without_null(one) for name, one in schema.items()}
    if kept.get("default", ...) is None:
        del kept["default"]
    alternatives = [one for one in kept.pop("anyOf", []) if one != {"type": "null"}]
    if len(alternatives) == 1:
        return {**alternatives[0], **kept}
    return {**kept, "anyOf": alternatives} if alternatives else kept

"""What the API takes and gives, as models: the same ones check a request, make an answer and are
drawn in /openapi.json. Here is what all of them share; `message_models`, `letter_models`,
`call_models` … have the others.

Models of answers read the values of `queue.admin` by attribute; a field whose name has a unit there
has none here, because its type says it (`accepted_at_us` is `accepted_at`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from dispatcher.api.fields import DestinationIn, MessageId, Slug

DEFAULT_PAGE: Final = 100

DEFERRED: Final = ConfigDict(defer_build=True)
"""Of adapters for models. Theirs, like those of the models, are built after the start (`building`),
or when the first request needs them: all of them together take a tenth of the time that a start
imports."""


class Input(BaseModel):
    """What callers send. Nothing unknown is ignored, and null is never another word for absent."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_null(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            for name, field in value.items():
                if field is None and name in cls.model_fields:
                    raise ValueError(f"`{name}` is null; leave it out instead")
        return value


class Output(BaseModel):
    """What the API answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True, defer_build=True)


class Nothing(Input):
    """No parameters, or no body."""


class ById(Input):
    """The path of one message or dead letter."""

    id: MessageId


class ByDestination(Input):
    """The path of one destination."""

    destination: DestinationIn


class Error(Output):
    """Why something was refused: a stable slug, and what to do."""

    error: Slug
    message: str


class ConnectFailure(Output):
    """Why a remote procedure call was refused, as Connect says it."""

    code: Slug
    message: str


class HealthStatus(Output):
    """How the process is."""

    status: Literal["alive", "ready"]


def attributes(value: Any) -> dict[str, Any]:
    """The fields of a slotted dataclass, not those of what is in them."""
    return {name: getattr(value, name) for name in value.__slots__}

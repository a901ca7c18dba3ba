"""The methods of a Protocol, as they are asked for in another process: how their arguments and
their results are written down. Pure.

All of it is taken from the Protocol's annotations, so that a method that is added to one can be
asked for at once. What is written is JSON, by name: a field or an argument that is not known is
passed over, and one that is not there is its default, so that two versions of the program
understand each other.

Some values are more than plain ones, and are sent as twins of theirs:

    a body      (`AsyncIterable[bytes]`) with its bytes where they are few, else as something that
                can be read later (`SentBody`)
    a message   as the record of the log that it has, whose layout is read for ever (`SentMessage`)
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from dataclasses import field as new_field
from functools import cache
from types import UnionType
from typing import Any, Final, Protocol, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, create_model

from dispatcher.core.destination import Destination
from dispatcher.core.message import Message
from dispatcher.queue.admin.surface import InMemory
from dispatcher.queue.records.messages import decode_message, encode_message

WITH_VALUE_BYTES: Final = 64 * 1024
"""Bodies up to this size go with the value that they are of."""
_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

Body: TypeAlias = AsyncIterable[bytes]
Pieces: TypeAlias = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class SentBody:
    """A body: all of it, or the number under which it is read."""

    data: bytes | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class SentPieces:
    """All of the pieces, or the number under which they were sent before."""

    data: Sequence[bytes] | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class SentDestination:
    """A destination as it is spelled: the fields of a compiled class have no types to go by."""

    name: str


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message without its body; `record` is that of one with an empty body."""

    record: bytes
    id: bytes
    body_size: int
    position: int
    attempt: int
    redrives: int
    history: bytes

    @staticmethod
    def of(message: Message) -> SentMessage:
        """As it is sent."""
        bare = message.with_chunks(None)
        bare.body, bare.body_size = b"", 0
        return SentMessage(
            encode_message(bare),
            message.wire_id,
            message.body_size,
            message.position,
            message.attempt,
            message.redrives,
            message.history,
        )

    def message(self) -> Message:
        """As it was."""
        message = decode_message(self.record)
        message.wire_id, message.body_size = self.id, self.body_size
        message.position, message.attempt = self.position, self.attempt
        message.redrives, message.history = self.redrives, self.history
        return message


class Beside(Protocol):
    """What does not go with its value."""

    def keep(self, body: Body) -> int:
        """A number for a body that is read later."""

    def body(self, number: int) -> Body:
        """The body with this number."""

    def keep_pieces(self, pieces: Pieces) -> int:
        """A number for pieces that are sent before."""

    def pieces(self, number: int) -> Pieces:
        """Those with this number.

        Raises:
            ValueError: there are none.
        """


class Method:
    """One method. `course` says that it is given one, `streams` that it gives many values."""

    def __init__(self, face: type, name: str) -> None:
        """Of a Protocol."""
        function = getattr(face, name)
        hints = get_type_hints(function)
        result = hints.pop("return")
        self.name = f"{face.__name__}.{name}"
        self.attribute = name
        self.signature = inspect.signature(function)
        self.course = "course" in hints
        self.streams = get_origin(result) is not None and issubclass(
            _class_of(get_origin(result)), AsyncIterator
        )
        self._sent = {
            name: _sent(hints[name]) for name in self.signature.parameters if name in hints
        }
        self._sent.pop("course", None)
        every = self.signature.parameters
        given: dict[str, Any] = {
            name: (sent, ... if every[name].default is inspect.Parameter.empty else None)
            for name, sent in self._sent.items()
        }
        self._arguments = create_model(f"Arguments of {self.name}", __config__=_CONFIG, **given)
        self._result = _adapter(get_args(result)[0] if self.streams else result)

    def __repr__(self) -> str:
        return f"<Method {self.name}>"

    def write_arguments(self, arguments: Mapping[str, object], beside: Beside) -> bytes:
        """Those by name; the course is none of them."""
        sent = {name: to_sent(value, self._sent[name], beside) for name, value in arguments.items()}
        written: str = self._arguments.model_construct(**sent).model_dump_json()
        return written.encode()

    def read_arguments(self, data: bytes, beside: Beside) -> dict[str, Any]:
        """As they were.

        Raises:
            ValueError: they are none of this method.
        """
        found = self._arguments.model_validate_json(data)
        named = {name: from_sent(getattr(found, name), beside) for name in found.model_fields_set}
        return {name: named[name] for name in named if name in self._sent}

    def write(self, value: object, beside: Beside) -> bytes:
        """A result, or one of many."""
        written: bytes = self._result.dump_json((to_sent(value, None, beside),))
        return written

    def read(self, data: bytes, beside: Beside) -> Any:
        """As it was. Its bodies are read where `beside` says.

        Raises:
            ValueError: it is none.
        """
        (value,) = self._result.validate_json(data)
        return from_sent(value, beside)


@cache
def method(face: type, name: str) -> Method:
    """The one with this name, made once."""
    return Method(face, name)


def methods_of(face: type) -> dict[str, Method]:
    """All that can be asked for, by their whole name: those that wait for an answer, and those that
    give many."""
    found = [method(face, name) for name, one in vars(face).items() if _is_asked(name, one)]
    return {one.name: one for one in found}


def _is_asked(name: str, one: object) -> bool:
    if name.startswith("_") or not inspect.isfunction(one):
        return False
    if inspect.iscoroutinefunction(one):
        return True
    origin = get_origin(get_type_hints(one).get("return"))
    return origin is not None and issubclass(_class_of(origin), AsyncIterator)


def _class_of(origin: Any) -> type:
    return origin if isinstance(origin, type) else object


def _adapter(type_: Any) -> TypeAdapter[Any]:
    """A tuple of one: a dataclass by itself takes no configuration."""
    one_of_it: Any = tuple[_sent(type_)]  # type: ignore[misc]  # made while it runs
    return TypeAdapter(one_of_it, config=_CONFIG)


# The types that values are sent as.


@cache
def _sent(type_: Any) -> Any:
    """The type that values of a type are sent as: itself, unless there is more to it."""
    if type_ is Message:
        return SentMessage
    if type_ is Destination:
        return SentDestination
    if type_ == Body:
        return SentBody
    if type_ == Pieces:
        return SentPieces
    origin = get_origin(type_)
    if origin in (Union, UnionType):
        return Union[tuple(_sent(one) for one in get_args(type_))]  # noqa: UP007  # `|` takes two
    if isinstance(type_, type) and is_dataclass(type_):
        return _twin(type_) or type_
    return type_


_OF_TWINS: Final[dict[type, type]] = {}
_TWINS: Final[dict[type, type]] = {}


def _twin(of: type) -> type | None:
    """The dataclass that a dataclass is sent as; None: itself."""
    hints = get_type_hints(of)
    sent = {one.name: _sent(hints[one.name]) for one in fields(of) if one.init}
    if all(sent[name] == hints[name] for name in sent):
        return None
    columns: list[Any] = [
        (
            *(one.name, sent[one.name]),
            new_field(kw_only=True, default=one.default, default_factory=one.default_factory),
        )
        for one in fields(of)
        if one.init
    ]
    twin = make_dataclass(f"Sent{of.__name__}", columns, frozen=True)
    _TWINS[of], _OF_TWINS[twin] = twin, of
    return twin


def to_sent(value: Any, sent: Any, beside: Beside) -> Any:
    """A value as it is sent; `sent` is the type of that, where it is known."""
    if isinstance(value, Message):
        return SentMessage.of(value)
    if isinstance(value, Destination):
        return SentDestination(str(value))
    if isinstance(value, InMemory) and len(value.data) <= WITH_VALUE_BYTES:
        return SentBody(value.data)
    if (twin := _TWINS.get(type(value))) is not None:
        return twin(
            **{
                name: to_sent(getattr(value, name), hint, beside)
                for name, hint in _hints(twin).items()
            }
        )
    if isinstance(value, AsyncIterable):
        return SentBody(None, beside.keep(value))
    if isinstance(value, Sequence) and (sent is SentPieces or SentPieces in get_args(sent)):
        if sum(map(len, value)) <= WITH_VALUE_BYTES:
            return SentPieces(value)
        return SentPieces(None, beside.keep_pieces(value))
    return value


def from_sent(value: Any, beside: Beside) -> Any:
    """A value as it was."""
    if isinstance(value, SentMessage):
        return value.message()
    if isinstance(value, SentDestination):
        return Destination.parse(value.name)
    if isinstance(value, SentBody):
        return beside.body(value.number) if value.data is None else InMemory(value.data)
    if isinstance(value, SentPieces):
        return beside.pieces(value.number) if value.data is None else value.data
    if (of := _OF_TWINS.get(type(value))) is not None:
        twin: Any = type(value)
        return of(**{name: from_sent(getattr(value, name), beside) for name in _hints(twin)})
    return value


@cache
def _hints(twin: Any) -> dict[str, Any]:
    return {one.name: one.type for one in fields(twin)}

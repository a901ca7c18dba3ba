"""Exceptions that go over the wire: what a waiting function gets of them."""

from __future__ import annotations

import asyncio
import builtins
import json
import pickle
import ssl
import traceback
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import pytest

from dispatcher.protocol.statuses import Status
from dispatcher.sdk import exceptions
from dispatcher.sdk.errors import RemoteTraceback, exception_of, failure_of
from dispatcher.sdk.exceptions import CallError
from dispatcher.sdk.replay.model import Failure
from dispatcher.sdk.values import encode


class OutOfStock(Exception):
    """An application's own, whose `__init__` takes what its text does not tell."""

    def __init__(self, item: str, *, left: int) -> None:
        super().__init__(f"no more {item}")
        self.item = item
        self.left = left
        CALLED.append(item)


class Slotted(ValueError):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class OfDisk(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "No such file", path)


class Delegating(Exception):
    """Useless before `__init__` has run."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["inner"], name)


class Model(pydantic.BaseModel):
    x: int


class _Zone:
    """Can't be sent."""

    def __str__(self) -> str:
        return "<a zone>"


CALLED: list[str] = []


E = TypeVar("E", bound=Exception)


def passed(error: BaseException) -> Exception:
    """What comes of it on the other side."""
    return exception_of(failure_of(error)[1])


def raised(error: E, cause: BaseException | None = None) -> E:
    """The exception, with a traceback."""
    try:
        if cause is None:
            raise error
        raise error from cause
    except type(error) as caught:
        return caught


def test_an_exception_comes_back_as_its_own_class_without_its_init() -> None:
    """With its text and its attributes. Nobody knows what `__init__` takes and does."""
    error = OutOfStock("tea", left=0)
    CALLED.clear()

    again = passed(error)

    assert type(again) is OutOfStock
    assert (str(again), again.item, again.left) == ("no more tea", "tea", 0)
    assert CALLED == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a", 1, 2.0, (b"x",)),
        KeyError("k"),
        StopIteration(3),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        json.JSONDecodeError("bad", "doc", 1),
        FileNotFoundError(2, "No such file", "/x"),
        OfDisk("/x"),
        ssl.SSLCertVerificationError(1, "certificate"),
        Slotted(5),
        exceptions.TLSError("tls"),
        exceptions.PermissionDeniedError("no"),
        exceptions.ThrottledError("slow", retry_after=3.5),
        exceptions.Expired("Expired", "too late"),
        CallError("Go's", "boom"),
        asyncio.IncompleteReadError(b"x", 3),
        ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [KeyError("k")])]),
    ],
    ids=repr,
)
def test_an_exception_looks_the_same_again(error: Exception) -> None:
    """Class, text, arguments and attributes."""
    again = passed(error)

    assert type(again) is type(error)
    assert (repr(again), str(again)) == (repr(error), str(error))
    for name in ("errno", "filename", "code", "retry_after", "type", "pos", "value"):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_notes_causes_and_groups_come_along() -> None:
    """An ExceptionGroup arrives as such, so `except*` finds what is in it."""
    inner = KeyError("k")
    inner.add_note("while buying")
    group = ExceptionGroup("two", [raised(OutOfStock("tea", left=1), inner), OSError(5, "disk")])

    again = passed(group)

    assert isinstance(again, ExceptionGroup)
    first, second = again.exceptions
    assert isinstance(first, OutOfStock)
    assert repr(first.__cause__) == "KeyError('k')"
    assert getattr(first.__cause__, "__notes__", None) == ["while buying"]
    assert isinstance(second, OSError)
    assert second.errno == 5


def test_the_remote_traceback_is_printed_above_the_local_one() -> None:
    """As those of `concurrent.futures`, behind the exception's own causes; it does not pile up."""
    failed = raised(OutOfStock("tea", left=1), raised(KeyError("k")))

    again = raised(passed(raised(passed(failed))))

    printed = "".join(traceback.format_exception(again))
    assert printed.startswith("dispatcher.sdk.errors.tracebacks.RemoteTraceback: \n")
    assert "in raised\n    raise error from cause\n" in printed
    assert isinstance(again.__cause__, KeyError)
    assert isinstance(again.__cause__.__cause__, RemoteTraceback)
    assert again.__cause__.__cause__.__cause__ is None


def test_the_traceback_is_the_applications() -> None:
    """Without the frames of the SDK that called it."""
    space: dict[str, Any] = {}
    inside = str(Path(exceptions.__file__).parent / "running" / "some.py")
    exec(compile("def call(body): body()", inside, "exec"), space)

    def body() -> None:
        raise OutOfStock("tea", left=1)

    with pytest.raises(OutOfStock) as caught:
        space["call"](body)
    error = caught.value.with_traceback(caught.tb.tb_next)  # without that of this test
    _, failure = failure_of(error)

    lines = failure.traceback.decode().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith(", in body")
    assert lines[-1].endswith("OutOfStock: no more tea")
    assert (failure.type, failure.message) == ("OutOfStock", "no more tea")


def test_what_the_sdk_raises_by_itself_has_no_traceback() -> None:
    """Its text says what is wrong; where in the SDK it was found helps nobody."""
    with pytest.raises(exceptions.EncodeError) as caught:
        encode("x", int)
    error = caught.value.with_traceback(caught.tb.tb_next)  # without that of this test

    assert failure_of(error)[1].traceback.decode() == (
        "dispatcher.sdk.exceptions.EncodeError: the value has to be int, not 'x' (str).\n"
    )


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (KeyboardInterrupt("stop"), "KeyboardInterrupt", "stop"),
        (SystemExit(3), "SystemExit", "3"),
        (asyncio.CancelledError(), "CancelledError", ""),
        (Delegating(_Zone()), "Delegating", "<a zone>"),
        (urllib.error.HTTPError("u", 500, "m", Message(), None), "HTTPError", "HTTP Error 500: m"),
    ],
)
def test_what_can_not_be_of_its_own_class_is_a_call_error(
    error: BaseException, kind: str, message: str
) -> None:
    """What ends a process here must not end the one that waits; and a class may need its
    `__init__`."""
    again = passed(error)

    assert type(again) is CallError
    assert (again.type, again.message) == (kind, message)


def test_a_class_that_is_not_imported_is_a_call_error() -> None:
    """Nothing is imported because somebody says so."""

    class Local(Exception):
        pass

    again = passed(Local("gone"))

    assert type(again) is CallError
    assert str(again) == ("test_a_class_that_is_not_imported_is_a_call_error.<locals>.Local: gone")


def test_an_error_of_pydantic_is_a_call_error_with_its_text() -> None:
    """Its class is made by pydantic only."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Model.model_validate({"x": "y"})

    again = passed(caught.value)

    assert type(again) is CallError
    assert again.type == "ValidationError"
    assert "valid integer" in again.message


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Expired", exceptions.Expired),
        ("Cancelled", exceptions.Cancelled),
        ("NotFound", exceptions.NotFoundError),
        ("InvalidResponse", exceptions.InvalidResponseError),
        ("Unauthenticated", exceptions.UnauthenticatedError),
        ("PermissionDenied", exceptions.PermissionDeniedError),
        ("InvalidCall", exceptions.InvalidArgumentError),
        ("TooDeep", CallError),
        ("wrapError", CallError),
        ("", CallError),
    ],
)
def test_what_the_server_and_other_sdks_say_has_its_class(
    kind: str, expected: type[Exception]
) -> None:
    """A call that expired is a TimeoutError as well."""
    again = exception_of(Failure(kind, "the text"))

    assert type(again) is expected
    assert str(again).endswith("the text")
    assert isinstance(again, builtins.TimeoutError) == (kind == "Expired")


@pytest.mark.parametrize(
    "value",
    [
        b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94.",
        b"\xff\xff\xff",
        b"N.",
        b"N.\xc0\x3e\x12",  # marked as an exception, and nothing in it
        b"N.\x2a\x00\xc0\x3e\x12",  # an empty one
    ],
)
def test_values_of_others_are_not_looked_into(value: bytes) -> None:
    """dispatch-py sends a pickle there."""
    again = exception_of(Failure("ValueError", "the text", value, b"Traceback of theirs"))

    assert type(again) is CallError
    assert isinstance(again.__cause__, RemoteTraceback)


def test_what_an_error_carries_is_nothing_to_who_unpickles_it() -> None:
    """dispatch-py unpickles it, without a net: its call would never end."""
    _, failure = failure_of(ValueError("the text"))

    assert pickle.loads(failure.value) is None


def test_a_failure_stays_small() -> None:
    """It is kept and delivered with the results: what is large in it is left out."""
    error = raised(OutOfStock("x" * 100_000, left=1), ValueError("y" * 100_000))
    endless = ExceptionGroup("g", [ValueError(n) for n in range(5000)])

    for one in (error, endless):
        _, failure = failure_of(one)
        assert len(failure.message) + len(failure.value) + len(failure.traceback) < 120_000
    assert type(passed(error)) is OutOfStock


@pytest.mark.parametrize("kind", [ValueError, OutOfStock, OSError])
def test_an_exception_with_a_very_long_text_has_its_beginning(kind: type[Exception]) -> None:
    """In place of an argument that is not sent."""
    came = passed(OutOfStock("x" * 500_000, left=1) if kind is OutOfStock else kind("x" * 500_000))
    assert type(came) is kind
    assert str(came) == ("no more " if kind is OutOfStock else "").ljust(10_000, "x")


def test_an_exception_without_a_text_of_its_own_is_told_all_the_same() -> None:
    """Its `__str__` may fail, or its arguments be what can't be sent."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert failure_of(Mute())[1].message == "<Mute has no text: RuntimeError>"
    assert str(passed(ValueError(_Zone()))) == "<a zone>"


def test_an_exception_whose_attributes_fail_is_told_without_them() -> None:
    """Also where that is all of them."""

    class Closed(Exception):
        @property
        def __dict__(self) -> dict[str, object]:  # type: ignore[override]  # that is the trouble
            raise RuntimeError

    status, failure = failure_of(Closed("shut"))
    assert (status, failure.type.rpartition(".")[2]) == (Status.PERMANENT_ERROR, "Closed")
    assert failure.message == "shut"


def test_causes_in_a_circle_end() -> None:
    """As code that raises an exception from itself makes them."""
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one

    assert failure_of(one)[0] is Status.INVALID_ARGUMENT
    assert repr(passed(one)) == "ValueError(1)"

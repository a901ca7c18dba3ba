"""`@dispatch.function`: what it makes of a function, and what it refuses."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk.functions.registry import by_name
from dispatcher.sdk.functions.served import served
from dispatcher.sdk.functions.spec import OnChange

FILE = "tests/unit/test_sdk_functions_decorator.py"


@dispatch.function
async def greet(name: str) -> str:
    """Greet somebody."""
    return name


def refused(make: Callable[[], object]) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    return str(caught.value)


def test_function_keeps_what_it_was() -> None:
    """Its name, its documentation, its signature."""
    assert (greet.__name__, greet.__doc__, greet.name) == ("greet", "Greet somebody.", "greet")
    assert greet.__wrapped__ is greet.spec.body
    line = greet.spec.body.__code__.co_firstlineno
    assert repr(greet) == f"<function greet of dispatch, {FILE}:{line}>"


def test_name_is_made_to_fit_the_wire() -> None:
    """Which takes ASCII only."""

    @dispatch.function
    async def größe() -> None: ...

    assert größe.name == "test_name_is_made_to_fit_the_wire.<locals>.gr__e"


def test_decorator_may_have_empty_parentheses() -> None:
    """They say nothing."""

    @dispatch.function()
    async def f() -> None: ...

    assert f.spec.durable is None


def test_options_are_in_its_spec() -> None:
    """In microseconds, and as enums."""

    @dispatch.function(
        name="slow",
        durable=True,
        timeout=timedelta(seconds=2),
        expiration=60,
        errors={KeyError: dispatch.NotFoundError},
        on_change="wait",
        input_checked=False,
    )
    async def f() -> None: ...

    spec = f.spec
    assert (spec.name, spec.durable, spec.timeout_us, spec.expiration_us) == (
        "slow",
        True,
        2_000_000,
        60_000_000,
    )
    assert (spec.on_change, spec.is_input_checked) == (OnChange.WAIT, False)
    assert spec.errors == {KeyError: dispatch.NotFoundError}
    options = f.build_call().options
    assert (options.timeout_us, options.expiration_us) == (2_000_000, 60_000_000)


class Shop:
    async def pay(self) -> None: ...

    @classmethod
    async def made(cls) -> None: ...

    @staticmethod
    async def fixed() -> None: ...


async def numbers() -> AsyncIterator[int]:
    yield 1


def digits() -> Iterator[int]:
    yield 1


NO_METHODS = (
    "a call names a function and its arguments, and no object: decorate a function of the module, "
    "and give it what it needs as arguments."
)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (
            numbers,
            "numbers yields, and a call has one result: return a list, or take what is to be done "
            "with each item into the function.",
        ),
        (
            digits,
            "digits yields, and a call has one result: return a list, or take what is to be "
            "done with each item into the function.",
        ),
        (Shop.pay, f"Shop.pay is a method: {NO_METHODS}"),
        (Shop().pay, f"Shop.pay is a method: {NO_METHODS}"),
        (
            vars(Shop)["made"],
            f"@dispatch.function stands above @classmethod on Shop.made: {NO_METHODS}",
        ),
        (
            vars(Shop)["fixed"],
            "@dispatch.function stands above @staticmethod on Shop.fixed: write it below.",
        ),
        (Shop, "Shop is a class: decorate a function, which may make objects of it."),
        (
            lambda x: x,
            'a lambda has no name to be called by: write `def`, or @dispatch.function(name="…").',
        ),
        (
            functools.partial(print, 1),
            'a partial of print has no name of its own: write @dispatch.function(name="…").',
        ),
        (greet, "greet is a function of dispatch already: leave one @dispatch.function out."),
        (
            "greet",
            "@dispatch.function was given 'greet': its arguments have names, as in "
            '@dispatch.function(name="greet").',
        ),
    ],
)
def test_what_cannot_be_a_function_is_refused_with_what_to_write(thing: Any, words: str) -> None:
    """At the decoration, before anything is called."""
    assert refused(lambda: dispatch.function(thing)) == words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"name": "grüß"},
            "the name of {f} must be a letter (a to z, A to Z) or _, and then letters, digits, _, "
            "<, > and dots, 1000 at most, and is 'grüß'.",
        ),
        ({"name": 3}, "the name of {f} must be a string, and is 3."),
        ({"durable": "yes"}, "durable= must be True or False, and is 'yes'."),
        ({"timeout": 0}, "timeout= must be 1 ms to 1 day, and is 0."),
        ({"timeout": "3s"}, "timeout= must be a number of seconds or a timedelta, and is '3s'."),
        ({"timeout": True}, "timeout= must be a number of seconds or a timedelta, and is True."),
        (
            {"timeout": timedelta(days=2)},
            "timeout= must be 1 ms to 1 day, and is datetime.timedelta(days=2).",
        ),
        ({"expiration": -1}, "expiration= must be 0 or more seconds, or a timedelta, and is -1."),
        (
            {"expiration": float("nan")},
            "expiration= must be a finite number of seconds, and is nan.",
        ),
        ({"expiration": 0}, "expiration= must be 1 µs to 3652500 days, and is 0."),
        ({"on_change": "no"}, 'on_change= must be "restart", "wait" or "fail", and is \'no\'.'),
        ({"input_checked": 1}, "input_checked= must be True or False, and is 1."),
        (
            {"errors": [KeyError]},
            "errors= must be a dict, as {{KeyError: dispatch.NotFoundError}}, and is "
            "[<class 'KeyError'>].",
        ),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    """Each in one sentence."""

    async def f() -> None: ...

    assert refused(lambda: dispatch.function(**options)(f)) == words.format(f=f.__qualname__)


UNTYPED: Any = dispatch
UNTYPED_GREET: Any = greet
_WHERE = (
    "calls are tried again until their expiration=, if the class of their error says that it "
    "passes; a step has dispatch.step.options(retries=…)."
)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: UNTYPED.function(retries=3), f"@dispatch.function has no retries=: {_WHERE}"),
        (lambda: UNTYPED.function(timeouts=3), "@dispatch.function has no timeouts=: {}timeout=?"),
        (lambda: UNTYPED_GREET.with_options(retries=3), f"with_options has no retries=: {_WHERE}"),
        (lambda: UNTYPED_GREET.with_options(priority=3), "with_options has no priority=."),
        (lambda: UNTYPED.step.options(retry=1), "step.options has no retry=: {}retries=?"),
        (
            lambda: UNTYPED.Dispatch(url="http://x"),
            "Dispatch has no url=: write endpoint_url= or api_url=.",
        ),
    ],
)
def test_options_that_do_not_exist_are_told_with_what_to_write(use: Any, words: str) -> None:
    """The one that is meant, or where it belongs."""
    assert refused(use) == words.replace("{}", "did you mean ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": -1}, "delay= must be 0 or more seconds, or a timedelta, and is -1."),
        (
            {"delay": 5, "expiration": 5},
            "delay= must be shorter than expiration=: else the call expires before it begins.",
        ),
        (
            {"key": "a b"},
            "key= must be 1 to 255 visible ASCII characters without spaces, and is 'a b'.",
        ),
        ({"key": 3}, "key= must be a string, and is 3."),
        (
            {"endpoint": "billing:8000"},
            "endpoint= must be the URL of an application, as http://billing:8000, and is "
            "'billing:8000'.",
        ),
    ],
)
def test_options_of_a_call_that_mean_nothing_are_refused(
    options: dict[str, Any], words: str
) -> None:
    """Where they are written."""
    assert refused(lambda: greet.with_options(**options)) == words


def test_plain_function_that_is_a_partial_or_a_lambda_can_have_a_name() -> None:
    """It is told then."""
    assert dispatch.function(name="double")(lambda x: x * 2).name == "double"
    assert dispatch.function(name="shout")(functools.partial(print, end="!")).name == "shout"


def test_async_function_behind_a_wrapper_is_async() -> None:
    """What is wrapped decides."""

    def wrapped(f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def wrapper(*args: Any) -> Any:
            return f(*args)

        return wrapper

    class Handler:
        async def __call__(self, x: int) -> int:
            return x

    async def f(x: int) -> int:
        return x

    assert dispatch.function(name="a")(wrapped(f)).spec.is_async
    assert dispatch.function(name="b")(functools.partial(f, 1)).spec.is_async
    assert dispatch.function(name="c")(Handler()).spec.is_async
    assert not dispatch.function(name="d")(print).spec.is_async


def test_static_method_can_be_a_function() -> None:
    """With the decorators in the right order."""

    class Tools:
        @staticmethod
        @dispatch.function(name="double")
        async def double(x: int) -> int:
            return x * 2

    assert Tools().double.name == "double"
    Tools().double.build_call(3)


def made(number: int) -> dispatch.Function[[], int]:
    @dispatch.function
    async def inner() -> int:
        return number

    return inner


def test_two_functions_of_one_name_are_refused_with_both_places() -> None:
    """A call could mean either."""

    @dispatch.function(name="greet")
    async def other() -> None: ...

    one, two = greet.spec.place, other.spec.place
    assert one.line != two.line
    assert refused(lambda: by_name([greet, other])) == (
        f"two functions are named greet, at {one} and at {two}: give one another name, "
        '@dispatch.function(name="…").'
    )


def test_function_inside_of_another_is_refused_when_it_is_made_twice() -> None:
    """Its variables would be those of one of the two."""
    first, second = made(1), made(2)
    assert refused(lambda: by_name([first, second])) == (
        f"made.<locals>.inner was made twice at {first.spec.place}, each time the function around "
        "it ran, and a call could mean either: define it at the top of the module."
    )


def test_same_function_twice_is_one() -> None:
    """Also with options."""
    assert list(by_name([greet, greet, greet.with_options(delay=3)])) == ["greet"]


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (
            dispatch.remote("far"),
            "far is a function of another application (dispatch.remote): it can be called from "
            "here, and is run there.",
        ),
        (refused, "refused is no function of dispatch: put @dispatch.function above it."),
        (3, "an application is given functions, as Dispatch(greet, welcome), and was given 3."),
    ],
)
def test_what_an_application_cannot_run_is_refused(thing: Any, words: str) -> None:
    """With what to write."""
    assert refused(lambda: by_name([thing])) == words


def test_served_function_reads_its_input_and_writes_its_result() -> None:
    """By its type hints."""
    [(name, function)] = served([greet]).items()
    assert (name, function.is_durable) == ("greet", False)
    assert function.bind(greet.build_call("Ada").input).args == ("Ada",)
    assert function.encode("x").type == "google.protobuf.StringValue"
    with pytest.raises(dispatch.EncodeError, match="the result of greet"):
        function.encode(object())
    assert function.failure(KeyError("x"))[1].type == "KeyError"


@dispatch.function(durable=True)
def not_async() -> None: ...


@dispatch.function(expiration=60, timeout=2.5, on_change="fail", input_checked=False)
async def welcome(names: list[str]) -> list[str]:
    return await greet.gather(names)


@dispatch.function
def tries_to_wait(name: str) -> Any:
    return greet(name)


@dispatch.function(durable=False)
async def says_so() -> None:
    await greet("a")


def test_describe_tells_what_is_known() -> None:
    """Where, whether it is durable and why, and its options."""
    assert dispatch.describe(greet) == (
        f"greet, {greet.spec.place}\n"
        "  plain: it names no function of dispatch, and nothing that is durable"
    )
    assert dispatch.describe(welcome) == (
        f"welcome, {welcome.spec.place}\n"
        "  durable: it names greet.gather\n"
        "  one run: 0:00:02.500000 at most\n"
        "  a call: 0:01:00 at most\n"
        "  on_change: fail\n"
        "  input_checked: False"
    )
    assert dispatch.describe(tries_to_wait) == (
        f"tries_to_wait, {tries_to_wait.spec.place}\n"
        "  plain: it is not async\n"
        "  tries_to_wait is not async, and can't wait for greet: make it `async def`, and write "
        "`await`."
    )
    assert dispatch.describe(not_async) == (
        f"not_async, {not_async.spec.place}\n"
        "  plain: it is not async\n"
        "  durable=True means nothing for not_async: make it `async def`."
    )
    assert dispatch.describe(says_so).endswith("\n  plain: it says durable=False")
    assert dispatch.describe(dispatch.remote("far")) == "far, a function of another application"
    assert refused(lambda: dispatch.describe(print)) == (  # type: ignore[arg-type]  # the mistake
        "describe() takes a function that has @dispatch.function, and was given "
        "<built-in function print>."
    )


def test_hints_may_name_what_is_defined_later() -> None:
    """They are looked at when the first call is made."""
    names: dict[str, Any] = {"dispatch": dispatch, "__name__": "later"}
    module = type(sys)("later")
    sys.modules["later"] = module
    source = (
        "from __future__ import annotations\n"
        "import dataclasses\n"
        "@dispatch.function\n"
        "async def ship(order: Order) -> Order: return order\n"
        "@dataclasses.dataclass\n"
        "class Order:\n"
        "    id: str\n"
    )
    try:
        exec(compile(source, "later.py", "exec"), names)
        vars(module).update(names)
        built = names["ship"].build_call(names["Order"]("1"))
        assert built.returns is names["Order"]
    finally:
        del sys.modules["later"]

"""Whether a function is plain or durable, by what its code names."""

from __future__ import annotations

import asyncio
import functools
import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Any

import pytest

import dispatcher.sdk as dispatch
from dispatcher.sdk import sleep as nap
from dispatcher.sdk.functions.deciding import walking
from dispatcher.sdk.functions.deciding.decision import Decision, decide
from dispatcher.sdk.functions.deciding.scope import _uses_the_sdk
from dispatcher.sdk.functions.spec import Place, Spec

CASES: list[tuple[Callable[..., Any], bool, str]] = []


def durable(way: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A body that is durable, and the names that lead to why."""

    def add(body: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append((body, True, way))
        return body

    return add


def plain(body: Callable[..., Any]) -> Callable[..., Any]:
    """A body that is plain."""
    CASES.append((body, False, ""))
    return body


def judged(body: Callable[..., Any]) -> Decision:
    is_async = asyncio.iscoroutinefunction(body)
    return decide(Spec("body", body, is_async, Place(__file__, 1)))


@dispatch.function
async def leaf(x: int = 0) -> int:
    return x


far = dispatch.remote("far", endpoint="http://far:8000")
approval = dispatch.promise("approval", bool)
orders = dispatch.channel("orders", int)
handlers = {"leaf": leaf, "other": len}
many = {str(number): leaf for number in range(101)}
bound_leaf = partial(leaf, 1)


async def helper() -> int:
    return await leaf(1)


async def second() -> int:
    return await helper()


async def third() -> int:
    return await second()


async def fourth() -> int:
    return await third()


async def fifth() -> int:
    return await fourth()


async def innocent(x: int = 0) -> int:
    await asyncio.sleep(0)
    return x


def wrapping(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await fn(*args, **kwargs)

    return wrapper


@wrapping
async def wrapped() -> int:
    return await leaf(1)


class Base:
    async def above(self) -> int:
        return await leaf(1)

    async def harmless(self) -> int:
        return await innocent(1)


class Service(Base):
    client: Client
    limit: int = 3

    def __init__(self) -> None:
        self.kept = leaf

    async def run(self) -> int:
        return await self._inner()

    async def _inner(self) -> int:
        return await leaf(1)

    async def quiet(self) -> int:
        return await innocent(1)

    async def calls_super(self) -> int:
        return await super().above()

    async def through_client(self) -> Any:
        return await self.client.get()

    async def uses_kept(self) -> int:
        return await self.kept(1)

    @property
    def answer(self) -> Call:
        return leaf(1)

    @cached_property
    def later(self) -> Call:
        return leaf(1)

    @staticmethod
    async def static() -> int:
        return await leaf(1)

    @classmethod
    async def of_class(cls) -> int:
        return await cls.static()


Call = dispatch.Call[int]


class Client:
    async def get(self) -> int:
        return await leaf(1)


class Entered:
    async def __aenter__(self) -> Entered:
        await leaf(1)
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Called:
    async def __call__(self) -> int:
        return await leaf(1)


class Depends:
    def __init__(self, dependency: Callable[..., Any]) -> None:
        self.dependency = dependency


service = Service()
needs_helper = Depends(helper)
called = Called()


def make_service() -> Service:
    return Service()


@dataclass
class Shop:
    service: Service
    title: str = ""

    async def open(self) -> int:
        return await self.service.run()


# What is durable.


@durable("body → leaf")
async def calls_a_function() -> None:
    await leaf(1)


@durable("body → leaf.gather")
async def gathers_a_function() -> None:
    await leaf.gather([1])


@durable("body → leaf.reset")
async def resets() -> None:
    leaf.reset(1)


@durable("body → leaf")
async def raises_a_reset() -> None:
    raise dispatch.Reset(leaf(1))


@durable("body → far")
async def calls_a_remote() -> None:
    await far(1)


@durable("body → leaf.with_options")
async def calls_with_options() -> None:
    await leaf.with_options(timeout=3, delay=len("abc"))(1)


@durable("body → leaf.with_options.gather")
async def gathers_with_options() -> None:
    await leaf.with_options(timeout=3).gather([1])


@durable("body → leaf.with_options")
async def calls_an_alias_with_options() -> None:
    slow = leaf.with_options(timeout=3)
    await slow(1)


@durable("body → dispatch.sleep")
async def sleeps() -> None:
    await dispatch.sleep(1)


@durable("body → nap")
async def sleeps_by_another_name() -> None:
    await nap(1)


@durable("body → dispatch.step")
async def has_a_step() -> None:
    await dispatch.step(print, 1)


@durable("body → dispatch.step.options")
async def has_a_step_with_options() -> None:
    await dispatch.step.options(retries=3)(print, 1)


@durable("body → dispatch.promise.wait")
async def waits_for_a_promise() -> None:
    await dispatch.promise("x", bool).wait()


@durable("body → approval")
async def awaits_a_promise_of_the_module() -> None:
    await approval


@durable("body → orders")
async def iterates_a_channel() -> None:
    async for _ in orders:
        pass


@durable("body → dispatch.patched")
async def is_patched() -> None:
    if dispatch.patched("x"):
        await innocent()


@durable("body → dispatch.sleep")
async def has_an_alias() -> None:
    s = dispatch.sleep
    await s(1)


@durable("body → dispatch.sleep")
async def has_a_walrus() -> None:
    await asyncio.gather((s := dispatch.sleep)(1), innocent())
    print(s)


@durable("body → dispatcher.sdk.sleep")
async def imports_in_its_body() -> None:
    from dispatcher.sdk import sleep as later

    await later(1)


@durable("body → dispatcher.sdk.sleep")
async def imports_a_module_in_its_body() -> None:
    import dispatcher.sdk as sdk

    await sdk.sleep(1)


@durable("body → leaf")
async def has_an_inner_function() -> None:
    async def inside() -> int:
        return await leaf(1)

    await inside()


@durable("body → leaf")
async def has_a_lambda() -> None:
    act: Callable[[int], Awaitable[int]] = lambda x: leaf(x)  # noqa: E731
    await act(1)


@durable("body → leaf")
async def has_a_comprehension() -> None:
    [await leaf(x) for x in range(3)]


@durable("body → leaf")
async def gathers_in_a_generator_expression() -> None:
    await asyncio.gather(*(leaf(x) for x in range(3)))


@durable("body → helper → leaf")
async def calls_a_helper() -> None:
    await helper()


@durable("body → fifth → fourth → third → second → helper → leaf")
async def reaches_five_calls_down() -> None:
    await fifth()


@durable("body → wrapped → leaf")
async def calls_a_wrapped_helper() -> None:
    await wrapped()


@durable("body → leaf")
@wrapping
async def is_wrapped() -> None:
    await leaf(1)


@durable("body → bound_leaf")
async def calls_a_partial() -> None:
    await bound_leaf()


@durable("body → leaf")
async def makes_a_partial() -> None:
    await partial(leaf, 1)()


@durable("body → handlers")
async def looks_up_a_table() -> None:
    await handlers["leaf"](1)  # type: ignore[operator]


@durable("body")
async def has_a_default(act: Callable[[int], Awaitable[int]] = leaf) -> None:
    await act(1)


@durable("body")
async def has_a_keyword_default(*, act: Callable[[int], Awaitable[int]] = leaf) -> None:
    await act(1)


@durable("body → leaf")
async def has_a_dependency(got: Any = needs_helper) -> None:
    await innocent(got)


@durable("body → svc.run → self._inner → leaf")
async def has_a_parameter_with_a_class(svc: Service) -> None:
    await svc.run()


@durable("body → svc.run → self._inner → leaf")
async def has_an_optional_parameter(svc: Service | None = None) -> None:
    if svc:
        await svc.run()


@durable("body → svc.run → self._inner → leaf")
async def has_an_annotated_parameter(svc: Annotated[Service, "injected"]) -> None:
    await svc.run()


@durable("body → shop.open → self.service.run → self._inner → leaf")
async def has_a_dataclass(shop: Shop) -> None:
    await shop.open()


@durable("body → Service.run → self._inner → leaf")
async def makes_an_object() -> None:
    await Service().run()


@durable("body → Service.run → self._inner → leaf")
async def makes_an_object_with_a_name() -> None:
    s = Service()
    await s.run()


@durable("body → make_service.run → self._inner → leaf")
async def is_given_an_object_by_a_function() -> None:
    await make_service().run()


@durable("body → service.run → self._inner → leaf")
async def uses_an_object_of_the_module() -> None:
    await service.run()


@durable("body → service.kept")
async def uses_what_an_object_has() -> None:
    await service.kept(1)


@durable("body → svc.calls_super → super.above → leaf")
async def goes_through_super(svc: Service) -> None:
    await svc.calls_super()


@durable("body → svc.above → leaf")
async def calls_an_inherited_method(svc: Service) -> None:
    await svc.above()


@durable("body → svc.through_client → self.client.get → leaf")
async def goes_through_an_annotated_attribute(svc: Service) -> None:
    await svc.through_client()


@durable("body → svc.answer → leaf")
async def awaits_a_property(svc: Service) -> None:
    await svc.answer


@durable("body → svc.later → leaf")
async def awaits_a_cached_property(svc: Service) -> None:
    await svc.later


@durable("body → Service.static → leaf")
async def calls_a_static_method() -> None:
    await Service.static()


@durable("body → Service.of_class → cls.static → leaf")
async def calls_a_class_method() -> None:
    await Service.of_class()


@durable("body → Entered → __aenter__ → leaf")
async def enters_an_object() -> None:
    async with Entered():
        pass


@durable("body → called → __call__ → leaf")
async def calls_an_object() -> None:
    await called()


@durable("body → sleeper.local → dispatch.sleep")
async def runs_a_durable_body_itself() -> None:
    await sleeper.local()


@durable("body → leaf")
async def uses_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(1))


@durable("body → dispatch.sleep")
async def catches() -> None:
    try:
        await innocent()
    except ValueError:
        await dispatch.sleep(1)


@dispatch.function
async def sleeper() -> None:
    await dispatch.sleep(1)


def closing(act: Callable[[int], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
    async def over_it() -> int:
        return await act(1)

    return over_it


durable("body → act")(closing(leaf))
durable("body → leaf")(partial(calls_a_function))

# What is plain.


@plain
async def does_nothing() -> None: ...


@plain
async def calls_an_innocent_helper() -> None:
    await innocent()


@plain
async def only_dispatches() -> None:
    await leaf.dispatch(1)


@plain
async def only_dispatches_with_options() -> None:
    await leaf.with_options(key="a", delay=len("abc")).dispatch(1)


@plain
async def only_dispatches_an_alias() -> None:
    slow = leaf.with_options(key="a")
    await slow.dispatch(1)


@plain
async def only_builds_a_call() -> None:
    leaf.build_call(1)


@plain
async def only_shows_its_name() -> None:
    print(leaf.name)


@plain
async def runs_a_plain_body_itself() -> None:
    await leaf.local(1)


@plain
async def only_resolves_a_promise() -> None:
    await approval.resolve(True)


@plain
async def only_resolves_a_promise_by_its_name() -> None:
    await dispatch.promise("approval", bool).resolve(True)


@plain
async def only_sends_to_a_channel() -> None:
    await orders.send(3)


@plain
async def only_asks_for_the_time() -> None:
    print(dispatch.now(), dispatch.uuid4(), dispatch.random(), dispatch.current())
    dispatch.log.info("x")


@plain
async def only_names_the_module() -> None:
    print(dispatch)


@plain
async def only_catches_its_errors() -> None:
    try:
        await innocent()
    except dispatch.TemporaryError:
        raise dispatch.PermanentError("no") from None


@plain
async def calls_a_quiet_method(svc: Service) -> None:
    await svc.quiet()


@plain
async def has_a_variable_of_that_name() -> None:
    leaf = innocent
    await leaf(1)


@plain
async def has_a_parameter_of_that_name(leaf: Callable[[int], Awaitable[int]]) -> None:
    await leaf(1)


@plain
async def uses_the_standard_library() -> None:
    await asyncio.gather(innocent(), asyncio.to_thread(print))


@plain
async def only_dispatches_behind_a_branch(key: str | None) -> None:
    await leaf.with_options(key=key if key else "none").dispatch(1)


plain(closing(innocent))


@pytest.mark.parametrize(
    ("body", "is_durable", "way"),
    CASES,
    ids=[getattr(body, "__name__", "partial") for body, _, _ in CASES],
)
def test_a_body_is_judged_by_what_it_names(
    body: Callable[..., Any], is_durable: bool, way: str
) -> None:
    """Each body of this file is what it is meant to be, for the reason that it has."""
    decision = judged(body)
    assert (decision.is_durable, " → ".join(decision.chain)) == (is_durable, way)


# What is not seen, and what is seen and is not there.


async def hides_it(name: str) -> None:
    await globals()[name](1)


async def is_given_it(act: Any) -> None:
    await act(1)


async def sixth() -> int:
    return await fifth()


async def reaches_too_far() -> None:
    await sixth()


async def has_a_large_table() -> None:
    await many["7"](1)


@pytest.mark.parametrize("body", [hides_it, is_given_it, reaches_too_far, has_a_large_table])
def test_what_no_name_shows_is_missed(body: Callable[..., Any]) -> None:
    """The net below plain functions catches it."""
    assert not judged(body).is_durable


async def only_mentions_it() -> None:
    print(leaf)


async def shadows_it_in_a_branch(other: bool) -> None:
    act: Callable[[int], Awaitable[int]] = leaf
    if other:
        act = innocent
    await act(1)


@pytest.mark.parametrize("body", [only_mentions_it, shadows_it_in_a_branch])
def test_what_is_only_mentioned_counts(body: Callable[..., Any]) -> None:
    """So its I/O is refused with the chain, and with durable=False as what to write."""
    assert judged(body).is_durable


def of_package(name: str, source: str, file: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__ = file
    exec(compile(source, file, "exec"), module.__dict__)
    return module


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two installed packages: one that uses the SDK, and one that only has a function from it."""
    sources = {
        "decide_using": "import dispatcher.sdk as dispatch\n"
        "async def go(f):\n    await dispatch.sleep(1)\n",
        "decide_other": "async def go(f):\n    await f.sleep(1)\n    await leaf(1)\n",
    }
    for name, source in sources.items():
        module = of_package(name, source, f"/usr/lib/site-packages/{name}/__init__.py")
        monkeypatch.setitem(sys.modules, name, module)
    vars(sys.modules["decide_other"])["innocent"] = innocent
    yield
    _uses_the_sdk.cache_clear()


async def goes_through_a_package_that_uses_the_sdk() -> None:
    import decide_using  # type: ignore[import-not-found]  # made by the fixture

    await decide_using.go(1)


async def goes_through_another_package() -> None:
    import decide_other  # type: ignore[import-not-found]  # made by the fixture

    await decide_other.go(1)


@pytest.mark.usefixtures("packages")
def test_installed_package_is_looked_into_when_it_uses_the_sdk() -> None:
    """Others would take a second, and have nothing."""
    assert judged(goes_through_a_package_that_uses_the_sdk).is_durable
    assert not judged(goes_through_another_package).is_durable


class Traps:
    """Does something whenever it is looked at."""

    @property
    def quiet(self) -> Any:
        raise AssertionError("a property was run")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("__getattr__ was run")

    @property  # type: ignore[misc]  # as lazy objects of frameworks have it
    def __class__(self) -> Any:
        raise AssertionError("it was asked for its class")

    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # as above
        raise AssertionError("it was asked for what it has")

    def __call__(self) -> Any:
        raise AssertionError("it was called")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("it was compared")

    def __hash__(self) -> int:
        raise AssertionError("it was hashed")

    def __bool__(self) -> bool:
        raise AssertionError("it was asked")

    def __len__(self) -> int:
        raise AssertionError("it was counted")


class Odd:
    """What is decorated twice, and what looks back."""

    trap = Traps()
    bound = ["a"].append

    @classmethod
    @functools.lru_cache
    def cached(cls) -> Any:
        return leaf(1)


traps = Traps()
builtin_method = types.MethodType(len, "abc")


async def touches_traps() -> None:
    await traps.quiet.more()
    await traps.other()
    await traps()


async def names_odd_things() -> None:
    Odd.cached()
    Odd().trap.quiet()
    Odd.bound("b")
    builtin_method()


def test_judging_stands_whatever_a_name_is() -> None:
    """What is behind decorators of other kinds is found, if it says what it wraps."""
    assert judged(names_odd_things).chain == ("body", "Odd.cached", "leaf")


def test_judging_runs_nothing_of_the_user() -> None:
    """No property, no `__getattr__`, no comparison."""
    assert not judged(touches_traps).is_durable


def test_judging_is_bounded_when_everything_reaches_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code of many functions that name each other is looked at once."""
    names: dict[str, Any] = {"__name__": "decide_web"}
    calls = "".join(f"    f{index}()\n" for index in range(40))
    source = "".join(f"async def f{index}():\n{calls}" for index in range(40))
    exec(compile(source, "/home/me/web.py", "exec"), names)
    looked: list[object] = []
    original = walking._reached

    def counted(look: Any) -> Any:
        looked.append(look)
        return original(look)

    monkeypatch.setattr(walking, "_reached", counted)
    assert not judged(names["f0"]).is_durable
    assert len(looked) == 40


def test_recursion_ends() -> None:
    """Also through a method and a property."""

    async def again(depth: int) -> None:
        await again(depth - 1)

    assert not judged(again).is_durable


def test_what_a_sync_function_names_is_said() -> None:
    """It can't wait for it."""

    def pays() -> Any:
        return helper_that_is_not_async()

    decision = judged(pays)
    assert not decision.is_durable
    assert decision.remark == (
        "body is not async, and can't wait for leaf (body → helper_that_is_not_async → leaf): make "
        "it `async def`, and write `await`."
    )


def helper_that_is_not_async() -> Any:
    return leaf(1)


@pytest.mark.parametrize(
    ("said", "is_durable", "reason"),
    [(True, True, "it says durable=True"), (False, False, "it says durable=False")],
)
def test_what_its_author_says_decides(said: bool, is_durable: bool, reason: str) -> None:
    """Whatever its code names."""
    for body in (calls_a_function, does_nothing):
        decision = decide(Spec("body", body, True, Place(__file__, 1), durable=said))
        assert (decision.is_durable, decision.reason) == (is_durable, reason)


def test_decision_shows_the_way() -> None:
    """For `dispatcher run`, and for errors."""
    assert str(judged(calls_a_function)) == "durable: it names leaf"
    assert str(judged(calls_a_helper)) == "durable: it names leaf (body → helper → leaf)"
    assert str(judged(does_nothing)) == (
        "plain: it names no function of dispatch, and nothing that is durable"
    )

"""What can be called: a function of this application, or of another."""

from __future__ import annotations

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Generator, Iterable
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar

from dispatcher.sdk.exceptions import EncodeError
from dispatcher.sdk.functions import durable, marks, performing, sites, unknown
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.call import Call, Home
from dispatcher.sdk.functions.durations import Seconds
from dispatcher.sdk.functions.gathering import Gathering
from dispatcher.sdk.functions.options import Options, changed
from dispatcher.sdk.functions.pending import Pending
from dispatcher.sdk.functions.ports import App, Handle, SyncHandle
from dispatcher.sdk.functions.reset import Reset
from dispatcher.sdk.functions.spec import Place

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound="Callee[..., Any]")


@marks.operation(
    harmless=(
        "build_call",
        "dispatch",
        "dispatch_sync",
        "give_to",
        "local",
        "name",
        "spec",
        "with_options",
    ),
    same=[("with_options", "()")],
)
class Callee(Generic[P, R]):
    """A function that can be called durably. `P` are its parameters, `R` is its result."""

    _name: str
    _home: Home
    _options: Options

    @property
    def name(self) -> str:
        """What the function is called on the wire."""
        return self._name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Return a call to `await`. Arguments are checked and encoded at once.

        Inside of a function it is a child of that call: made once, whatever crashes, and its result
        is on record. Elsewhere `await` dispatches it and waits for the result.

        Raises:
            TypeError: the arguments don't fit the function.
            EncodeError: one of them can't be sent.
        """
        place = sites.caller()
        return Call(self._built(args, kwargs, place), self._home, place)

    def gather(self, xs: Iterable[Any], limit: int | None = None) -> Pending[list[R]]:
        """Call the function with each of `xs`, and await all results, in the order of `xs`.

        Much cheaper than a task for each. Once a call has failed its error is raised, and those
        that have not ended are cancelled (outside of a function they go on).

        Args:
            xs: one argument for each call.
            limit: how many calls there may be at once; None: all.
        """
        place = sites.caller()
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TypeError(f"limit= must be a whole number, and is {limit!r}.")
        if limit is not None and limit < 1:
            raise ValueError(f"limit= must be 1 or more, and is {limit!r}; None means all at once.")
        calls = [self._built_of_one(x, place) for x in self._several(xs)]
        return Gathering(self._name, calls, limit=limit, home=self._home, place=place)

    def dispatch(self, *args: P.args, **kwargs: P.kwargs) -> Pending[Handle[R]]:
        """Make the call and don't wait for it: `handle = await f.dispatch(x)`.

        The call is on the server's disk when it returns, and goes on without its caller. In a
        durable function it is a step: done once. A plain one that is tried again dispatches again,
        unless the call has a key: `f.with_options(key=…).dispatch(x)`.
        """
        place = sites.caller()
        return _Dispatching(self._built(args, kwargs, place), self._home, place)

    def dispatch_sync(self, *args: P.args, **kwargs: P.kwargs) -> SyncHandle[R]:
        """`dispatch` for code that is not async: it blocks until the call is on the server's disk.

        Raises:
            RuntimeError: it is called in a durable function, which must not block.
        """
        place = sites.caller()
        built = self._built(args, kwargs, place)
        if durable.running() is not None:
            raise RuntimeError(
                f"{self._name}.dispatch_sync(…) at {place} would block a durable function: "
                f"write `await {self._name}.dispatch(…)`."
            )
        caller = self._home.sync_caller(f"the dispatch of {self._name}", place)
        ids = caller.dispatch([built], key=built.key)
        return caller.handle(ids[0], built.returns)

    def build_call(self, *args: P.args, **kwargs: P.kwargs) -> BuiltCall[R]:
        """Return the call as a value, for a batch or a client. Nothing is made."""
        return self._built(args, kwargs, sites.caller())

    def reset(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """End this call, and let a call of the function take its place (a tail call).

        The new one has the id and the expiration of the old one, and an empty record: so a function
        can go on for ever. Whoever waits for the old call gets the result of the new one.

        Raises:
            RuntimeError: no call runs here.
        """
        place = sites.caller()
        if not performing.is_inside():
            raise RuntimeError(
                f"{self._name}.reset(…) at {place} ends the call that runs here, and none does: it "
                f"belongs in the body of a function. Elsewhere write `await {self._name}(…)`."
            )
        raise Reset(self._built(args, kwargs, place))

    @unknown.explained("with_options", **unknown.OF_CALLS)
    def with_options(
        self: C,
        *,
        expiration: Seconds | None = None,
        timeout: Seconds | None = None,
        delay: Seconds | None = None,
        key: str | None = None,
        endpoint: str | None = None,
    ) -> C:
        """Return the same function, with options for the calls that are made with it.

        Args:
            expiration: seconds or a timedelta until a call fails with `Expired`, its retries and
                waits included; a year if nobody says, and a child's is at most its parent's.
            timeout: how long one run of it may take, 1 ms to 24 hours.
            delay: how much later it begins.
            key: an idempotency key for calls from outside: the same key and arguments again are the
                same call.
            endpoint: the URL of the application that has it, in place of this one.
        """
        twin = copy.copy(self)
        twin._options = changed(
            self._options,
            expiration=expiration,
            timeout=timeout,
            delay=delay,
            key=key,
            endpoint=endpoint,
        )
        return twin

    def _several(self, xs: object) -> Iterable[Any]:
        """What gather is given, if it is several arguments."""
        name = self._name.rpartition(".")[2]
        if isinstance(xs, str | bytes):
            raise TypeError(
                f"gather makes a call for each of several arguments, and was given one text, "
                f"{xs!r:.80}: write `await {name}.gather([…])`."
            )
        if not isinstance(xs, Iterable):
            raise TypeError(
                f"gather makes a call for each of several arguments, as in "
                f"`await {name}.gather([1, 2])`, and was given {xs!r:.80}."
            )
        return xs

    def _built_of_one(self, x: object, place: Place) -> BuiltCall[R]:
        try:
            return self._built((x,), {}, place)
        except EncodeError:
            raise
        except TypeError as error:
            name = self._name.rpartition(".")[2]
            raise TypeError(
                f"{error}: gather gives one argument to each call; for more write "
                f"`await dispatch.gather(*({name}(a, b) for a, b in pairs))`."
            ) from None

    def give_to(self, app: App | None) -> None:
        """Let `app` make the calls of this function, and of what was derived from it."""
        self._home.app = app

    @abstractmethod
    def _built(
        self, args: tuple[object, ...], kwargs: dict[str, object], place: Place
    ) -> BuiltCall[R]:
        """Return a call with its arguments encoded."""


class _Dispatching(Pending[Handle[R]]):
    """A dispatch that nobody waits for, until it is on the server's disk."""

    __slots__ = ("_built", "_home")

    def __init__(self, built: BuiltCall[R], home: Home, place: Place) -> None:
        super().__init__(built.function, place)
        self._built = built
        self._home = home

    @property
    def what(self) -> str:
        return f"the dispatch of {self.__name__}"

    @property
    def _nothing(self) -> str:
        return "nothing was dispatched"

    def _run(self) -> Generator[Any, Any, Handle[R]]:
        caller = self._home.caller(self.what, self._place)
        key = self._key_of_a_step() if self._built.key is None else self._built.key

        async def dispatch() -> str:
            return (await caller.dispatch([self._built], key=key))[0]

        dispatch_id = yield from performing.as_step(
            f"{self._built.function}.dispatch",
            dispatch,
            hint=str,
            site=str(self._place),
            input=self._built.input,
        )
        return caller.handle(dispatch_id, self._built.returns)

    def _key_of_a_step(self) -> str | None:
        """A key that is the same where the step is run again: a crash before its result was stored
        must not make a second call."""
        loop = durable.running()
        if loop is None:
            return None
        drawn = loop.random.getrandbits(64).to_bytes(8, "big")
        what = self._built.function.encode() + b"\0" + self._built.input.data
        return f"{loop.told.id}:{hashlib.sha256(drawn + what).hexdigest()[:32]}"

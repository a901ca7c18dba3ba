"""An environment to run functions in, in a test: a server in memory, in a time that jumps."""

from __future__ import annotations

import weakref
from datetime import datetime, timedelta
from typing import Any, Literal, ParamSpec, Self, TypeVar

from dispatcher.sdk.client.handle import SyncHandle
from dispatcher.sdk.client.outcome import Named, endpoint_of, failed, given
from dispatcher.sdk.functions.built import BuiltCall
from dispatcher.sdk.functions.callee import Callee
from dispatcher.sdk.functions.function import Function
from dispatcher.sdk.functions.instants import instant
from dispatcher.sdk.replay.model import Result
from dispatcher.sdk.testing.crashes import Killed, Played, crash_all
from dispatcher.sdk.testing.doubles import Stub, name_of
from dispatcher.sdk.testing.history import History, check
from dispatcher.sdk.testing.parts import Parts
from dispatcher.sdk.testing.reach import built
from dispatcher.sdk.testing.tree import Tree, tree
from dispatcher.sdk.testing.waiting import Stuck
from dispatcher.sdk.testing.world import World

P = ParamSpec("P")
R = TypeVar("R")


class Environment:
    """Runs functions as a server and an application would, in memory, and without waiting.

    ```python
    env = Environment(welcome)
    assert env.run(welcome, ["Ada"]) == ["Hello, Ada!"]  # sleeps of days take no time
    ```

    In tests that are async, too: nothing here is awaited. `await welcome(…)` and
    `await welcome.dispatch(…)` of the test, of plain functions and of steps go here as well, until
    it is closed: `with Environment(welcome) as env:`, or the fixture of `testing.plugin`.

    There is one run at a time, in the order in which they are due, so that a test is the same each
    time. HTTP requests of `dispatch.http` and functions of other applications need a stub.
    """

    def __init__(
        self,
        *functions: Function[..., Any],
        time: Literal["simulated", "real"] = "simulated",
        replay: Literal["always", "never"] = "always",
    ) -> None:
        """
        Args:
            functions: what is tested; whatever their modules name is there too.
            time: "simulated" jumps to whatever is due next, and begins with 2026; "real" waits.
            replay: "always" runs a durable function anew from its record each time it is resumed,
                as after a crash, and once more when it has ended: it has to do the same, and is
                watched for clocks, randomness and I/O. From the 32nd time on it is replayed only
                each time a sixteenth has come to its record. "never" goes on where it is.
        """
        _check(time, ("simulated", "real"), "time")
        _check(replay, ("always", "never"), "replay")
        self._functions = functions
        self._parts = Parts(functions, is_simulated=time == "simulated", is_warm=replay == "never")
        weakref.finalize(self, World.close, self._parts.world)

    def __repr__(self) -> str:
        return f"<Environment of {', '.join(self._parts.application.served)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it. Functions belong to the application again that they belonged to before. A stub
        or an error that was for a name which nothing had is told in a warning."""
        self._parts.close()
        self._parts.doubles.warn_of_unmet(self._parts.application.served)

    # Calls.

    def run(self, function: Callee[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function, and return its result. Time passes as far as it takes.

        Raises:
            Stuck: it waits for what only the test can bring: use `start`, then `resolve`.
            BaseException: what the function raised.
        """
        return self.start(function, *args, **kwargs).result()

    def start(self, function: Callee[P, R], /, *args: P.args, **kwargs: P.kwargs) -> SyncHandle[R]:
        """Call a function, and run whatever can run now. Time stands still.

        Returns:
            Its handle: `handle.result()` goes on until it has ended, `handle.info().state` says how
            it stands ("suspended", "succeeded", …), `handle.cancel()` asks it to end.
        """
        call = built(function, args, kwargs)
        (dispatch_id,) = self._parts.sync_caller.dispatch([call], key=call.key)
        self._parts.world.block(self._parts.driver.settle())
        return self._parts.sync_caller.handle(dispatch_id, call.returns)

    # What happens outside.

    def advance(
        self,
        by: timedelta = timedelta(0),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let time pass, and run what is due meanwhile: `env.advance(days=3)`."""
        by += timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if by < timedelta(0):
            raise ValueError(f"Time goes on only: advance was given {by}.")
        until_us = self._parts.now_us() + by // timedelta(microseconds=1)
        self._parts.world.block(self._parts.driver.advance(until_us))

    @property
    def now(self) -> datetime:
        """What time it is here."""
        return instant(self._parts.now_us())

    def resolve(self, promise: str | Named, value: object = None) -> None:
        """Give a promise its value, and run what waited for it.

        Raises:
            AlreadyCompleted: it has one.
        """
        self._complete(endpoint_of("promise", promise), given(value))

    def reject(self, promise: str | Named, error: BaseException | str) -> None:
        """Give a promise an error in place of a value."""
        self._complete(endpoint_of("promise", promise), failed(error))

    def send(self, channel: str | Named, value: object = None) -> None:
        """Put a value into a channel, and run what waited for it."""
        self._complete(endpoint_of("channel", channel), given(value))

    def fail(
        self, what: object, error: BaseException | type[BaseException], *, times: int = 1
    ) -> None:
        """Have the next `times` runs of something end with `error`.

        Args:
            what: a function, what a step runs, or the name of a step.
        """
        self._parts.doubles.fail(name_of(what), error, times)

    def stub(self, what: object, code: Stub) -> None:
        """Have `code` run, with the same arguments, in place of a function, of what a step runs, or
        of the step of this name. `code` may be async. That of a remote function gets the one value
        that it is called with."""
        self._parts.doubles.stub(name_of(what), code)

    def crash(self) -> None:
        """Have the application's process die, and another one begin."""
        self._parts.application.die()

    def crash_everywhere(self, function: Callee[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in environments like this one as it stands (stubs, errors, promises that
        were given), with a crash at another place each time. Each answer is lost twice: once the
        application's process dies just before it gives it; once the server dies before it has
        stored it, and asks an application that lives on the same again. Calls, stored steps and
        result have to be what they are without a crash; steps and plain functions run as often as
        that takes.

        Returns:
            The result.

        Raises:
            CrashShows: something came out otherwise.
            BaseException: what the function raised, each time.
        """

        def play(killed: Killed | None) -> Played[R]:
            with self._twin() as env:
                return env._played(built(function, args, kwargs), killed)

        return crash_all(play)

    # What has happened.

    def runs(self, what: object) -> int:
        """How often something has begun: runs of a function from its input, so first ones and
        retries, or runs of a step."""
        name = name_of(what)
        of_functions = sum(c.runs for c in self._parts.server.calls.values() if c.function == name)
        return of_functions + self._parts.application.steps[name]

    def tree(self) -> Tree:
        """All calls, as a tree: `print(env.tree())`."""
        return tree(self._parts.server.calls.values())

    def history(self, function: Callee[..., Any]) -> History:
        """What the last call of a function did until now, to be kept in a file, and given to
        `replay` with later code.

        Raises:
            LookupError: it was not called, or has not waited for anything.
        """
        if function.name in self._parts.running.resumes:
            return History(function.name, *self._parts.running.resumes[function.name])
        raise LookupError(
            f"{function.name} was not resumed here, so nothing of it is on record: run it until it "
            "has waited for something."
        )

    def check(self, history: History) -> None:
        """Run what a history ends with, without its steps. Raises NoLongerFits."""
        application = self._parts.application
        refused: list[str] = []
        application.refused = refused
        answer = self._parts.world.block(application.run(history.request))
        if answer.status != 200:
            raise ValueError(f"The history can't be run: {answer.body.decode(errors='replace')}")
        check(history, answer.body, refused)

    # Inside.

    def _twin(self) -> Environment:
        """Another one, with the same stubs, errors and promises."""
        time: Literal["simulated", "real"] = "simulated" if self._parts.is_simulated else "real"
        env = Environment(*self._functions, time=time, replay="never")
        env._parts.take(self._parts)
        return env

    def _played(self, call: BuiltCall[R], killed: Killed | None) -> Played[R]:
        self._parts.running.killed = killed
        value, error = None, None
        try:
            (dispatch_id,) = self._parts.sync_caller.dispatch([call])
            value = self._parts.sync_caller.handle(dispatch_id, call.returns).result()
        except Stuck:
            raise
        except Exception as raised:
            error = raised
        calls, running = self._parts.server.calls.values(), self._parts.running
        return Played(value, error, calls, running.answers, running.crashed_in)

    def _complete(self, endpoint: str, result: Result) -> None:
        self._parts.sync_caller.complete(endpoint, result)
        self._parts.world.block(self._parts.driver.settle())


def _check(value: str, known: tuple[str, ...], what: str) -> None:
    if value not in known:
        raise ValueError(f"{what}={value!r}: write {' or '.join(map(repr, known))}.")

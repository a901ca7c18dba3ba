"""The real server is killed at random moments while function calls run, and started again.

Every call that was dispatched ends, once, with the right result; nothing is run again whose outcome
was known to be stored. Set `CRASH_SEED` to run the same moments again.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from dispatcher.protocol.messages import Call, DispatchRequest, DispatchResponse
from dispatcher.testing.process import ServerProcess
from tests.acceptance.functions import (
    Client,
    Endpoint,
    Http,
    Reply,
    Run,
    an_any,
    exits,
    fails,
    polls,
)
from tests.acceptance.receiver import eventually
from tests.effort import times

pytestmark = pytest.mark.crash

_ROUNDS = times(3)
_CHILDREN = 4
_QUICK = {
    "CALL_RETRY_DELAY": "50",
    "CALL_RETRY_MAX_DELAY": "300",
    "CALL_START_DELAY": "0",
    "CALL_WORKER": "32",
}


class Application:
    """Roots make children twice, one after the other, with states of which some are large.

    `violations` are runs that should not have come: of a step whose outcome was stored, because a
    later step of its call has come, its parent was told its result, or it was read.
    """

    def __init__(self, dice: random.Random) -> None:
        self.violations: list[str] = []
        self.twice = 0
        self._dice = dice
        self._reached: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._seen: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def ended(self, id: str) -> None:
        """The result of a call was read."""
        with self._lock:
            self._ended.add(id)

    def __call__(self, run: Run) -> Reply:
        request = run.request
        id, poll = request.dispatch_id, request.poll_result
        stage = 0
        if request.WhichOneof("directive") == "poll_result":
            stage = int(poll.typed_coroutine_state.value[:1])
        with self._lock:
            if id in self._ended or self._reached[id] > stage:
                self.violations.append(f"{request.function} {id}, step {stage}")
            self._reached[id] = stage
            self._ended.update(one.dispatch_id for one in poll.results)
            self.twice += (id, stage) in self._seen
            self._seen.add((id, stage))
            chance = self._dice.random()
        if chance < 0.05:
            return Http(503)
        name = request.input.value.decode() if stage == 0 else ""
        match request.function, stage:
            case "leaf", _:
                return exits(name.encode())
            case "doomed", _:
                return fails(7)
            case _, 2:
                assert len(poll.results) == _CHILDREN
                return exits(poll.typed_coroutine_state.value[1:10])
        if stage == 1:
            assert len(poll.results) == _CHILDREN
            name = poll.typed_coroutine_state.value[1:10].decode()
        children = [
            Call(function="leaf", input=an_any(b"%d" % number)) for number in range(_CHILDREN)
        ]
        filled = bytes(700_000 if chance > 0.97 else 100)
        state = b"%d%b" % (stage + 1, name.encode()) + filled
        return polls(*children, state=state, min_results=_CHILDREN)


class Load:
    """Batches that are dispatched; each is sent again, with its key, until it was answered."""

    def __init__(self, endpoint: Endpoint, dice: random.Random) -> None:
        self.ids: dict[int, Sequence[str]] = {}
        self.size = 0
        self._endpoint = endpoint
        self._dice = dice
        self._batches: dict[int, DispatchRequest] = {}

    def _next(self) -> int:
        """The number of a batch that has no answer yet."""
        waiting = [number for number in self._batches if number not in self.ids]
        if waiting and self._dice.random() < 0.5:
            return waiting[0]
        number = len(self._batches)
        names = [f"{number:06d}-{place:02d}" for place in range(5)]
        functions = ["doomed" if name.endswith("7-03") else "root" for name in names]
        self._batches[number] = DispatchRequest(
            calls=[
                self._endpoint.call(function, input=an_any(name.encode()))
                for function, name in zip(functions, names, strict=True)
            ]
        )
        return number

    def send(self, client: Client) -> None:
        """Send until the server is gone."""
        with contextlib.suppress(OSError):
            while True:
                self._send(client, self._next())
                time.sleep(0.02)

    def kill(self, server: ServerProcess, after_s: float, batches: int) -> None:
        """End a server after a while: not before so many batches have an answer, however slow the
        machine is."""
        time.sleep(after_s)
        try:
            eventually(lambda: len(self.ids) >= batches)
        finally:
            server.kill()

    def send_the_rest(self, client: Client) -> None:
        """Send what has no answer yet."""
        for number in self._batches:
            if number not in self.ids:
                self._send(client, number)

    def _send(self, client: Client, number: int) -> None:
        answer = client.post(self._batches[number], f"Idempotency-Key: batch-{number}")
        assert answer.status == 200, answer
        self.ids[number] = list(DispatchResponse.FromString(answer.body).dispatch_ids)

    def check(self, client: Client, application: Application) -> int:
        """Read all results; returns how many failed."""
        failed = 0
        for number, ids in self.ids.items():
            for id, call in zip(ids, self._batches[number].calls, strict=True):
                result = client.result(id)
                application.ended(id)
                if call.function == "doomed":
                    assert result.error.type == "ValueError"
                    failed += 1
                else:
                    assert result.output.value == call.input.value
        return failed


@pytest.mark.parametrize("settings", [{}, {"CALL_WORKER": "2"}], ids=["usual", "narrow"])
def test_every_call_ends_once_when_the_server_is_killed_again_and_again(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    """Under load, at any moment; a kill in the middle of a start too."""
    seed = int(os.environ.get("CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"CRASH_SEED={seed}")
    dice = random.Random(seed)
    application = Application(random.Random(seed))
    with Endpoint(application) as endpoint:
        load = Load(endpoint, dice)
        for round_ in range(_ROUNDS):
            if dice.random() < 0.3:
                server = ServerProcess(tmp_path, **{**_QUICK, **settings})
                time.sleep(dice.uniform(0.1, 1.0))
                server.kill()
            with ServerProcess(tmp_path, **{**_QUICK, **settings}) as server:
                client = Client(server)
                after_s, batches = dice.uniform(0.1, 1.2), 3 * round_ + 4
                killing = threading.Thread(target=load.kill, args=(server, after_s, batches))
                killing.start()
                load.send(client)
                killing.join()
        with ServerProcess(tmp_path, **{**_QUICK, **settings}) as server:
            client = Client(server)
            load.send_the_rest(client)
            failed = load.check(client, application)
            time.sleep(0.3)  # whatever would be run again has its chance
            eventually(lambda: client.ask("GET", "/v1/stats").json["dead"] == failed)
            assert server.stop() == 0
            assert not [line for line in server.lines if line["level"] == "error"]
    assert not application.violations
    print(f"{len(load.ids)} batches, {application.twice} runs twice")
    assert len(load.ids) > 3 * _ROUNDS

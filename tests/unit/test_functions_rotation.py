"""While there are two signing keys, an application may have either of them."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispatcher.core.outcome import AttemptResult
from dispatcher.functions.model import Call, How, Phase
from dispatcher.functions.runs.message import RunMessage
from dispatcher.protocol.connect import ConnectError
from dispatcher.protocol.messages import RunRequest
from dispatcher.protocol.signing import Signer
from dispatcher.protocol.verifying import Verifier
from dispatcher.testing import loop
from dispatcher.testing.application import SIGNING_KEY, FakeApplication, Reply, Running, exits
from dispatcher.testing.clock import SimulatedClock

SECOND = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
SIGNERS = (Signer(SIGNING_KEY), Signer(SECOND))


def has_ended(call: Call) -> Callable[[], bool]:
    """What says whether a call has ended."""
    return lambda: call.phase is Phase.ENDED


class Verifying(FakeApplication):
    """It has one key, and refuses what another has signed with `status`."""

    def __init__(self, key: Ed25519PrivateKey, status: int = 403) -> None:
        super().__init__(self._verified)
        self._verifier = Verifier([key.public_key()])
        self._status = status

    def _verified(self, request: RunRequest) -> Reply:
        message = self.messages[-1]
        assert isinstance(message, RunMessage)
        lines = bytes(message.head).decode().split("\r\n")[1:]
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        try:
            self._verifier.verify(
                method="POST",
                target=message.target,
                host=message.destination.authority,
                headers=headers,
                body=bytes(message.body),
                now_s=1_704_067_200.0,
            )
        except ConnectError:
            return AttemptResult(self._status, None, "no", 1)
        return exits()


def test_application_with_the_second_key_gets_its_runs_signed_with_that() -> None:
    """A run that it refuses is sent once more at once, as the same attempt; from then on that key
    comes first."""

    async def main(clock: SimulatedClock) -> None:
        for status in (401, 403):
            application = Verifying(SECOND, status)
            running = Running(application, clock)
            running.runner.targets.sign_with(*SIGNERS)
            (call,) = await running.dispatch("f")
            await running.until(has_ended(call))
            assert call.how is How.OK
            assert [message.attempt for message in application.messages] == [1, 1]
            (second,) = await running.dispatch("f")
            await running.until(has_ended(second))
            assert second.how is How.OK
            assert len(application.messages) == 3
            await running.stop()

    loop.run(main)


def test_application_that_goes_back_to_the_first_key_is_served() -> None:
    """Some processes of it have the new key already, others the old one."""

    async def main(clock: SimulatedClock) -> None:
        application = Verifying(SECOND)
        running = Running(application, clock)
        running.runner.targets.sign_with(*SIGNERS)
        for key in (SECOND, SIGNING_KEY, SECOND, SECOND, SIGNING_KEY):
            application._verifier = Verifier([key.public_key()])
            (call,) = await running.dispatch("f")
            await running.until(has_ended(call))
            assert call.how is How.OK
        assert len(application.messages) == 9
        await running.stop()

    loop.run(main)


def test_application_that_refuses_both_keys_ends_the_call() -> None:
    """Two requests, and no more."""

    async def main(clock: SimulatedClock) -> None:
        application = Verifying(Ed25519PrivateKey.generate())
        running = Running(application, clock)
        running.runner.targets.sign_with(*SIGNERS)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED)
        assert call.how is How.FAILED
        assert running.result_of(call).error.type == "PermissionDenied"
        assert len(application.messages) == 2
        await running.stop()

    loop.run(main)


def test_run_that_is_refused_is_not_sent_again_where_there_is_one_key() -> None:
    """There is nothing else to sign it with."""

    async def main(clock: SimulatedClock) -> None:
        application = Verifying(SECOND, 401)
        running = Running(application, clock)
        (call,) = await running.dispatch("f")
        await running.until(lambda: call.phase is Phase.ENDED)
        assert running.result_of(call).error.type == "Unauthenticated"
        assert len(application.messages) == 1
        await running.stop()

    loop.run(main)

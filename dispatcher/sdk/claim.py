"""Claims words at the server: a promise of that name is completed once, and by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dispatcher.protocol.statuses import Then
from dispatcher.sdk.client.errors import AlreadyCompleted, ClientError
from dispatcher.sdk.functions.ports import Caller
from dispatcher.sdk.replay.model import NOTHING
from dispatcher.sdk.running.intents import Claim, NotClaimed

_PREFIX: Final = "promise:dispatch-step-"


def claim_with(caller: Callable[[], Caller]) -> Claim:
    """Return what claims words with this caller, which is asked for when it is needed."""

    async def claim(word: str) -> bool | None:
        try:
            await caller().complete(_PREFIX + word, NOTHING)
        except AlreadyCompleted:
            return False
        except ClientError as error:
            if error.status.then is Then.RETRY:
                raise NotClaimed(f"a step that is to run once waits: {error}") from error
            return None
        return True

    return claim

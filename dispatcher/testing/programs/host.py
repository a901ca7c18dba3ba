"""A process of an application: it keeps what it suspended, as long as it has room and lives."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dispatcher.sdk.replay.model import Event, Result, Told
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.player import Answer, Player


@dataclass(frozen=True, slots=True)
class Request:
    """An activation, as the server sends it, once or more. `nonce` is that of `state`, 0 without
    one; `may_append`: the answer may hold only what is new in the state; `kept` are results that
    the state refers to; `now_us` is by the clock of the host that it is sent to, which is
    `ahead_us` of the server's."""

    node: Node
    told: Told
    state: bytes | None
    nonce: int
    events: Sequence[Event]
    now_us: int
    may_append: bool
    kept: Mapping[str, Result]
    ahead_us: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its state. `extends`: the nonce of the state it is to be put behind, None for
    a whole one. `was_warm`: the body went on instead of being replayed."""

    answer: Answer
    state: bytes
    nonce: int
    extends: int | None
    was_warm: bool


class Host:
    def __init__(self, *, warm: int) -> None:
        self._room = warm
        self._kept: OrderedDict[str, tuple[Player, int]] = (
            OrderedDict()
        )  # with the nonce it answered

    def run(self, request: Request) -> Reply:
        kept = self._continued(request)
        player = kept or player_of(request)
        answer = player.advance(request.events, request.now_us)
        reply = _replied(request, player, answer, was_warm=kept is not None)
        if answer.end is None:
            self._keep(request.told.id, player, reply.nonce)
        else:
            player.run.close()
        return reply

    def die(self) -> None:
        """Forget all. The real thing runs nothing when it dies, and neither does this."""
        while self._kept:
            self._kept.popitem()[1][0].run.close()

    def _continued(self, request: Request) -> Player | None:
        player, nonce = self._kept.pop(request.told.id, (None, 0))
        if player is None:
            return None
        if request.state is not None and nonce == request.nonce:
            return player
        player.run.close()
        return None

    def _keep(self, id: str, player: Player, nonce: int) -> None:
        player.run.mark()
        self._kept[id] = player, nonce
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)[1][0].run.close()


def player_of(request: Request) -> Player:
    """A body that begins anew, from the state that the request brings."""
    return Player(request.node, request.told, request.state, kept=request.kept)


def _replied(request: Request, player: Player, answer: Answer, *, was_warm: bool) -> Reply:
    is_appended = request.may_append and request.state is not None
    state = player.run.appended() if is_appended else player.run.state()
    extends = request.nonce if is_appended else None
    return Reply(answer, state, player.run.nonce, extends, was_warm)

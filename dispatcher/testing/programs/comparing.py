"""What a program does under one plan, in every regime: the same.

At each activation the body that goes on is compared with one that begins anew from the stored
state, given the results at once and one by one: commands, timers, cancellations, what the body has
seen, and the bytes of the state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dispatcher.sdk.replay.journal import decode
from dispatcher.sdk.replay.model import Told
from dispatcher.testing.programs.host import player_of
from dispatcher.testing.programs.node import Node
from dispatcher.testing.programs.plan import Plan
from dispatcher.testing.programs.player import Answer, Wrong
from dispatcher.testing.programs.server import START_US, Activation, Life, Regime, Server, Watch

CALM = Regime("calm")
ROUGH = (
    Regime("killed at every activation", warm=0, crash=1),
    Regime("everything", warm=1_000, hosts=2, crash=0.3, lost=0.3, repeated=0.5),
    Regime(
        "everything, appended", warm=1_000, hosts=2, crash=0.3, lost=0.3, repeated=0.5, append=True
    ),
    Regime("results kept by the server", warm=1, crash=0.3, repeated=0.3, keep=True),
    Regime("room for one", warm=1, repeated=0.2, append=True),
)


def lives(programs: Sequence[Node], plan: Plan) -> list[Life]:
    """A call for each program, all under one plan."""
    made = enumerate(programs)
    return [Life(node, _told(i), dataclasses.replace(plan, seed=plan.seed + i)) for i, node in made]


def compare(
    programs: Sequence[Node], plan: Plan, *, calm: Regime = CALM, rough: Sequence[Regime] = ROUGH
) -> list[Life]:
    """Play programs calmly, and then again in each regime. Returns the calm lives.

    Raises: Wrong, with the activation and both answers.
    """
    played = lives(programs, plan)
    Server(calm, plan.seed, watch=check_cold).play(played)
    play_again(programs, plan, played, rough=rough)
    return played


def play_again(
    programs: Sequence[Node], plan: Plan, calm: Sequence[Life], *, rough: Sequence[Regime] = ROUGH
) -> None:
    """Play in each regime what was played calmly, here or elsewhere. Raises: as `compare`."""
    for regime in rough:
        tried = lives(programs, plan)
        Server(regime, plan.seed, watch=_check_against(calm, regime)).play(tried)


def check_cold(life: Life, activation: Activation) -> None:
    """Begin anew from the state that was stored, and compare. Raises: Wrong."""
    _same("cold", activation, replayed(activation, singly=False))
    wake_us = life.answer.wake_us
    if wake_us is None or wake_us > activation.request.now_us:  # a timer comes after all results
        singly = replayed(activation, singly=True)
        if not singly.reply.answer.is_torn:
            _same("cold, one by one", activation, singly)


def replayed(activation: Activation, *, singly: bool) -> Activation:
    """The same activation by a body that begins anew."""
    request = activation.request
    player = player_of(request)
    try:
        answer = player.advance(request.events, request.now_us, singly=singly)
        state, nonce = player.run.state(), player.run.nonce
    finally:
        player.run.close()
    reply = dataclasses.replace(activation.reply, answer=answer, state=state, nonce=nonce)
    return Activation(request, reply)


def _check_against(calm: Sequence[Life], regime: Regime) -> Watch:
    def check(life: Life, activation: Activation) -> None:
        before = next(one for one in calm if one.told.id == life.told.id)
        number = len(life.past)
        if number >= len(before.past):
            raise Wrong(f"{regime.name}: goes on after {before.answer.end}")
        _same(
            regime.name,
            before.past[number],
            activation,
            with_state=not (regime.append or regime.keep),
        )

    return check


def _same(what: str, one: Activation, other: Activation, *, with_state: bool = True) -> None:
    first, second = one.reply, other.reply
    differ = [
        f"{name}: {getattr(first.answer, name)}\n    not {getattr(second.answer, name)}"
        for name in (field.name for field in dataclasses.fields(Answer) if field.compare)
        if getattr(first.answer, name) != getattr(second.answer, name)
    ]
    if with_state and first.state != second.state:
        differ.append(f"state: {decode(first.state)}\n    not {decode(second.state)}")
    if differ:
        request = one.request
        told = f"{request.node}\n  {request.events} at {request.now_us - START_US} us"
        raise Wrong("\n  ".join([f"{what}: {told}", *differ]))


def _told(i: int) -> Told:
    return Told(f"call{i}", "program", root_id=f"call{i}", created_us=START_US)

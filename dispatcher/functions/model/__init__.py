"""What a call is, in few bytes: there may be hundreds of thousands."""

from dispatcher.functions.model.call import Call
from dispatcher.functions.model.keys import NO_KEYS, Keys, with_keys, without_key
from dispatcher.functions.model.rare import USUAL, Rare
from dispatcher.functions.model.values import (
    NONE,
    NOT_FROZEN,
    How,
    Phase,
    Poll,
    Result,
    StateArm,
)

__all__ = [
    "NONE",
    "NOT_FROZEN",
    "NO_KEYS",
    "USUAL",
    "Call",
    "How",
    "Keys",
    "Phase",
    "Poll",
    "Rare",
    "Result",
    "StateArm",
    "with_keys",
    "without_key",
]

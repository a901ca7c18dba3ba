"""The arguments of a call of dispatch-py, whose functions take nothing but a pickle of them.

It is written by hand around a pickle of the arguments: `dispatch.proto.Arguments` is named in it,
not imported. Nothing is ever unpickled here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Final

from dispatcher.protocol.messages import Pickled
from dispatcher.sdk.exceptions import EncodeError
from dispatcher.sdk.replay.model import Value

_TYPE: Final = "buf.build/stealthrocket/dispatch-proto/dispatch.sdk.python.v1.Pickled"
_PROTOCOL: Final = b"\x80\x04"


def encode_pickled_arguments(
    function: str, args: Sequence[object], kwargs: Mapping[str, object]
) -> Value:
    """Encode the arguments for a function of dispatch-py; `function` is its name in errors.

    Raises:
        EncodeError: one of them can't be pickled.
    """
    try:
        state = pickle.dumps({"args": tuple(args), "kwargs": dict(kwargs)}, protocol=4)
    except Exception as error:  # whatever their own __reduce__ raises
        raise EncodeError(
            f"the arguments of {function} can't be pickled, which dispatch-py needs: {error}."
        ) from error
    return Value(_TYPE, Pickled(pickled_value=_around(state)).SerializeToString())


def _around(state: bytes) -> bytes:
    """The pickle of a `dispatch.proto.Arguments` whose attributes are those of this pickled dict.

    The class is put below the dict on the stack: nothing of it is memoized, so the numbers in the
    memo of what follows stay right. BUILD takes the place of STOP, which keeps the frame's length.
    """
    begun = (
        _PROTOCOL
        + _text("dispatch.proto")
        + _text("Arguments")
        + pickle.STACK_GLOBAL
        + pickle.EMPTY_TUPLE
        + pickle.NEWOBJ
    )
    return begun + state.removeprefix(_PROTOCOL)[: -len(pickle.STOP)] + pickle.BUILD + pickle.STOP


def _text(text: str) -> bytes:
    return pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode("ascii")

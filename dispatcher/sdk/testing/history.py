"""What a call did, to keep beside the tests: later code has to be able to go on from there.

A history is the last resume of a call in which no step ran: what it was asked, which has all that
is on record until then, and what it answered. It is kept as text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dispatcher.protocol.messages import RunResponse
from dispatcher.protocol.statuses import Status, status_of_wire


class NoLongerFits(AssertionError):
    """The function does not do what is on record."""


@dataclass(frozen=True, slots=True)
class History:
    """The last run of a call of `function`: a RunRequest and a RunResponse."""

    function: str
    request: bytes
    response: bytes

    def save(self, path: str | Path) -> None:
        """Write it to a file."""
        Path(path).write_text(self.to_text(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> History:
        """Read a file that `save` wrote."""
        return cls.from_text(Path(path).read_text(encoding="utf-8"))

    def to_text(self) -> str:
        fields = {
            "function": self.function,
            "request": base64.b64encode(self.request).decode(),
            "response": base64.b64encode(self.response).decode(),
        }
        return json.dumps(fields, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> History:
        """Raises: ValueError: this is no history."""
        try:
            fields = json.loads(text)
            request, response = (base64.b64decode(fields[key]) for key in ("request", "response"))
            return cls(str(fields["function"]), request, response)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"This is no history that was saved: {error!r}") from error


def check(history: History, answer: bytes, steps: Sequence[str]) -> None:
    """Compare what a function answers now with what is on record. `steps` are those that it would
    have run.

    Raises:
        NoLongerFits: it is something else.
    """
    now, then = RunResponse.FromString(answer), RunResponse.FromString(history.response)
    if status_of_wire(now.status) is Status.INCOMPATIBLE_STATE:
        raise NoLongerFits(now.exit.result.error.message)
    goes_on = f"runs the step {', '.join(steps)}" if steps else _shown(now)
    if goes_on != _shown(then):
        raise NoLongerFits(
            f"{history.function} goes on otherwise than on record.\n"
            f"  recorded   {_shown(then)}\n  now        {goes_on}"
        )


def _shown(response: RunResponse) -> str:
    """What a response asks for. The state is not compared: its bytes may change with a format."""
    if response.HasField("exit"):
        if response.exit.HasField("tail_call"):
            return f"becomes {response.exit.tail_call.function}"
        error = response.exit.result.error
        return f"raises {error.type}: {error.message}" if error.type else "returns"
    calls = ", ".join(call.function or call.endpoint for call in response.poll.calls)
    return f"calls {calls}" if calls else "waits"

"""A type hint that names what is not there when the program runs."""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.sdk.values.codec import Codec, same
from dispatcher.sdk.values.misfit import Misfit
from dispatcher.sdk.values.refusing import refuse


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A hint that names what is not there when the program runs."""

    hint: str
    reason: str

    @property
    def codec(self) -> Codec:
        """For plain values, which need no hint."""
        return Codec("anything", same, same, fallback=self._refuse, rank=99)

    def _refuse(self, value: object) -> object:
        try:
            return refuse(value)
        except Misfit as misfit:
            raise Misfit(
                f"{misfit.what.partition(', which')[0]}, and its hint {self.hint!r} can't be "
                f"resolved ({self.reason}): define or import what it names at the top level of the "
                "module, not only for type checkers"
            ) from None

"""What decisions about calls go by: what the settings say, and what a run was given."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings CALL_… that decide; times are milliseconds. `suspect_after_ms` 0: never."""

    retry_delay_ms: int = 500
    retry_max_delay_ms: int = 60_000
    default_expiration_ms: int = DAY_MS
    max_expiration_ms: int = 365 * DAY_MS
    suspect_after_ms: int = 600_000
    tree_max: int = 1_000_000

    def expires_us(self, now_us: int, asked_us: int, delay_us: int = 0) -> int:
        """When a call that is made now expires. `asked_us` is how long its caller lets it run, 0:
        not said, and `delay_us` how long its first run is put off."""
        lasts_us = asked_us or delay_us + self.default_expiration_ms * 1000
        return now_us + min(lasts_us, self.max_expiration_ms * 1000)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was given: at which `step` of its call, how many of its results (`delivered`),
    whether its `Call.error` (`was_told`), whether the state was one of our SDK's, whether a
    reference stood in its place (`is_referred`), and whether its call had been asked to end by then
    (`was_cancelling`)."""

    step: int
    delivered: int = 0
    was_told: bool = False
    is_own_state: bool = False
    is_referred: bool = False
    was_cancelling: bool = False

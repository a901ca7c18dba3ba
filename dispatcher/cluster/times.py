"""How long is waited for what. Every second here is one of a monotonic clock of one's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """Checked where they are made, for what must hold between them.

    A lease is renewed every `renew_s`; its owner acts for `act_s` after it sent the renewal that
    was stored last; others may claim it `ttl_s` after they first saw that renewal, which is later.
    The difference is for clocks that run differently, and turns of a loop that take long.
    """

    renew_s: float = 1.0
    act_s: float = 2.4
    ttl_s: float = 3.0
    again_s: float = 0.25
    """Before something is sent again that had no verdict: short, or who is back after an election
    would be slower than those who wait for its lease to end."""
    grace_s: float = 1.0
    """For how long a member has stored its own record, time after time, before it claims what
    another one does not renew: it may be the store that was away, for the other one too."""
    rank_s: float = 1.0
    """The second in rank waits for so long, the third for twice that."""
    poll_s: float = 0.75
    """Between looks, give or take a fifth."""
    eager_s: float = 0.05
    """Between looks for what a hint said is coming; for `hint_s` after it."""
    hint_s: float = 0.5
    settle_s: float = 2.0
    """Who has just joined waits for so long before it claims what nobody had when it came: the
    first of several that start at once would have everything."""
    rest_s: float = 1.0
    """Between two moves."""
    stays_s: float = 10.0
    """For how long a member has to be there before it is given something that another one has; and
    for how long another was not heard of before its number is taken."""

    def __post_init__(self) -> None:
        if not 0 < self.renew_s < self.act_s < self.ttl_s:
            raise ValueError(f"{self}: expected renew_s < act_s < ttl_s")

    @property
    def steady_s(self) -> float:
        """A member that stored nothing for so long cannot say that the store is there. Less than
        what is left of a lease's `ttl_s` after its last renewal, or a member would not notice that
        nobody can renew."""
        return min(1.5 * self.renew_s, self.ttl_s - self.renew_s)

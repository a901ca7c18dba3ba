"""What finds in a durable body what replay alone would find late, or never: a clock, randomness,
I/O that blocks (`Watched`), and results that differ from one replay to the next (`Checked`).

Each costs several times what a run does, so they are for tests and for `dispatcher run`.
"""

from dispatcher.sdk.check.checked import Checked, Watched, is_due

__all__ = ["Checked", "Watched", "is_due"]

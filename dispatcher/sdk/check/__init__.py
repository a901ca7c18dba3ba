"""What finds in a durable body what replay alone would find late, or never: a clock, randomness,
I/O that blocks, and results that differ from one replay to the next.

It costs several times what a run does, so it is for tests and for `dispatcher run --check`.
"""

from dispatcher.sdk.check.checked import Checked

__all__ = ["Checked"]

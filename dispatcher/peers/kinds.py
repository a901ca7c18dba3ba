"""What processes ask each other: the kinds of questions, streams and notes. A number is never used
for anything else again: processes of two versions may meet."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """See the modules that are named."""

    ACCEPT = 1
    """`forwarding`: a question with a message."""
    ACCEPT_ALL = 2
    """`forwarding`: a question with the messages of a group."""
    ACCEPT_STREAM = 3
    """`forwarding`: a stream with a large body, or whose caller waits for the outcome."""
    KNOWN = 4
    """`forwarding`: which of some keys a partition knows."""
    OUTCOME = 5
    """`node.outcomes`: what became of a message."""
    FORMER = 6
    """`node.former`: whether anything is left of a number of partitions of before."""
    FORGOTTEN = 7
    """`node.former`: a note that nothing is."""

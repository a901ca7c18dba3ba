"""Results by reference (our extension `keep`): a state names large results, and does not hold them.

The application says with a poll which of the results that it was just given its state refers to.
These stay with the call (`Call.kept`), in the log where they are, and are never sent by themselves:
a process that has the state but not their values asks for them (`recalling`). A function that is
replayed needs all of them again, so they are kept until its call ends, begins anew or becomes
another.
"""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.functions import limits
from dispatcher.functions.ids import parse_id
from dispatcher.functions.model import Call
from dispatcher.functions.spans import length_of


def to_keep(call: Call, delivered: int, names: Sequence[str]) -> tuple[int, ...] | str:
    """The keys of the children whose results are kept from now on. `names` are ids of children, and
    `delivered` is how many results the run was given.

    Returns:
        A string, which says why, where a name is none of a result that there is, or there are too
        many: the state could not be used.
    """
    if not names:
        return ()
    given = {result.child: result for result in call.results[:delivered]}
    before = {result.child for result in call.kept}
    found: dict[int, None] = {}
    for name in names:
        key = parse_id(name)
        if key is not None and key in given:
            found[key] = None
        elif key not in before:
            return f"the poll keeps {name[:80]!r}, which is no result that this run was given"
    count = len(before) + len(found)
    if count > limits.MOST_KEPT:
        return f"its state refers to {count} results, and {limits.MOST_KEPT} is the most"
    kept = (*call.kept, *[given[key] for key in found])
    size_bytes = sum([length_of(result.where) for result in kept])
    if size_bytes > limits.MOST_KEPT_BYTES:
        return (
            f"the results that its state refers to have {size_bytes} bytes, and "
            f"{limits.MOST_KEPT_BYTES} is the most"
        )
    return tuple(found)

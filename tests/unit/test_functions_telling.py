"""Who hears what happens to calls, and what it costs while nobody listens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from dispatcher.functions.model import NONE, Call
from dispatcher.functions.shown import Entry, Step
from dispatcher.functions.views.figures import Figures
from dispatcher.functions.views.telling import Telling

CREATED = Entry(Step.CREATED, 1)
OK = Entry(Step.RUN, 1, attempt=1, duration_ms=5, status="ok")
THROTTLED = Entry(Step.RUN, 1, attempt=1, duration_ms=5, status="throttled", error="no")
ENTRIES = (CREATED, OK, THROTTLED, Entry(Step.RESTARTED, 2))


class Ears:
    """A log, a listener, and who spells ids: each notes what it is asked."""

    def __init__(self, *, is_debug: bool, has_listeners: bool) -> None:
        self.is_debug = is_debug
        self.has_listeners = has_listeners
        self.logged: list[Step] = []
        self.told: list[tuple[str, str, str, Any]] = []
        self.spelled = 0
        self.figures = Figures()

    def happened(self, call_id: str, call: Call, entry: Entry) -> None:
        """See `telling.Log`."""
        self.logged.append(entry.step)

    def call_happened(self, what: str, call_id: str, endpoint: str, fields: Any) -> None:
        """See `Watch`."""
        self.told.append((what, call_id, endpoint, fields))

    def id_of(self, key: int) -> str:
        """An id."""
        self.spelled += 1
        return f"{key:028x}"

    def hear(self, parent: int = NONE) -> None:
        """Let things happen to a call."""
        call = SimpleNamespace(key=7, parent=parent, root=3, endpoint="http://a", function="f")
        telling = Telling(self.figures, cast(Any, self), self, self.id_of)
        for entry in ENTRIES:
            telling.happened(cast(Any, call), entry)


def test_what_goes_well_costs_nothing_while_nobody_listens() -> None:
    """It is counted; failures and restarts are logged."""
    ears = Ears(is_debug=False, has_listeners=False)
    ears.hear()
    assert ears.logged == [Step.RUN, Step.RESTARTED]
    assert ears.told == []
    assert ears.spelled == 2
    assert (ears.figures.created, ears.figures.runs["throttled"]) == (1, 1)


def test_listener_is_told_all_of_it_with_the_calls_above() -> None:
    """Whatever the log's level is; at `debug` the log has all of it too."""
    ears = Ears(is_debug=True, has_listeners=True)
    ears.hear(parent=5)
    assert ears.logged == [entry.step for entry in ENTRIES]
    assert [what for what, *_ in ears.told] == ["created", "run", "run", "restarted"]
    _, call_id, endpoint, fields = ears.told[2]
    assert (int(call_id, 16), endpoint) == (7, "http://a")
    assert (int(fields["parent_id"], 16), int(fields["root_id"], 16)) == (5, 3)
    assert (fields["status"], fields["error"]) == ("throttled", "no")

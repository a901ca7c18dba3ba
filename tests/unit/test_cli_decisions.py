"""What the command line decides without asking anybody: which dead letters, when, how fast."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.cli import batches, output, times
from dispatcher.cli.batches import PURGE, REDRIVE, Progress
from dispatcher.cli.client import Api, Json, Server
from dispatcher.cli.errors import BadUsage, CommandError, KeyRefused, RefusedNow, Unreachable
from dispatcher.cli.selection import Filters, Ids, Matching, read_ids, select
from dispatcher.cli.sse import Dropped, Event, parse
from dispatcher.cli.top import Look, busiest, rate

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Letters(Api):
    """An API with nothing but dead letters. Those in `die_again` are redriven in vain; over those
    in `broken` the API fails, those in `taken` somebody else deals with, those in `damaged` cannot
    be read."""

    def __init__(self, count: int) -> None:
        super().__init__(Server("http", "127.0.0.1", 1), None)
        self.letters = {number: f"{number:028x}" for number in range(count)}
        self.broken: set[str] = set()
        self.taken: set[str] = set()
        self.damaged: set[str] = set()
        self.batches: list[Json] = []
        self.die_again: set[str] = set()
        self.fails_at: int | None = None

    @property
    def ids(self) -> list[str]:
        """Those that are there, the oldest first."""
        return [self.letters[place] for place in sorted(self.letters)]

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        assert path == "/v1/dead-letters"
        assert query is not None
        limit = query["limit"]
        assert isinstance(limit, int)
        assert 1 <= limit <= 1000
        after = int(str(query["cursor"] or -1))
        places = [place for place in sorted(self.letters) if place > after]
        return {
            "items": [{"id": self.letters[place]} for place in places[:limit]],
            "next": str(places[limit - 1]) if len(places) > limit else None,
        }

    def post(self, path: str, body: Json | None = None) -> Json:
        assert body is not None
        if self.fails_at == len(self.batches):
            raise KeyboardInterrupt
        self.batches.append(body)
        wanted = set(body["ids"])
        if wanted & self.broken:
            raise CommandError("an error that nobody foresaw (internal_error)")
        if body.get("dry_run"):
            self.batches.pop()
            return {"not_found": sorted(wanted - set(self.ids))}
        found = [one for one in self.ids if one in wanted and one not in self.taken | self.damaged]
        end = max(self.letters, default=0)
        self.letters = {place: one for place, one in self.letters.items() if one not in found}
        for place, one in enumerate(sorted(self.die_again & set(found)), start=end + 1):
            self.letters[place] = one
        verb = {"redrive": "redriven", "purge": "purged"}[path.rpartition("/")[2]]
        failed = self.damaged & wanted
        missing = sorted(wanted - set(found) - failed)
        return {verb: len(found), "not_found": missing, "failed": sorted(failed)}


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_s += seconds


def apply(api: Letters, **options: Any) -> Progress:
    """Redrive all there is."""
    progress = Progress()
    given: dict[str, Any] = {
        "selection": Matching(Filters()),
        "expected": len(api.ids),
        "advance": lambda _: None,
        **options,
    }
    selection = given.pop("selection")
    batches.run(api, REDRIVE, selection, progress=progress, **given)
    return progress


# Which


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
    ],
)
def test_instant_is_spelled_as_the_api_does(text: str, expected: str) -> None:
    """UTC with microseconds, whatever was typed."""
    assert times.instant(text, "--before") == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "0001-01-01T00:00:00+14:00"])
def test_instant_refuses_what_is_none(text: str) -> None:
    """The message names the option."""
    with pytest.raises(BadUsage, match="--before"):
        times.instant(text, "--before")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", "11:59:30"), ("15m", "11:45:00"), ("6h", "06:00:00"), ("2d", "2026-01-29T12:00:00")],
)
def test_ago_counts_back_from_now(text: str, expected: str) -> None:
    """In the unit that stands behind the number."""
    assert expected in times.ago(text, "--older-than", NOW)


@pytest.mark.parametrize("text", ["", "2", "d", "-2d", "2 d", "2y", "1.5h", "999999w"])
def test_ago_refuses_what_is_no_span(text: str) -> None:
    """The message says what one looks like."""
    with pytest.raises(BadUsage, match="2d"):
        times.ago(text, "--older-than", NOW)


def read(**options: str) -> Filters:
    """Filters of options."""
    given: dict[str, str | None] = {"before": None, "after": None, "older_than": None, **options}
    return Filters.read(None, None, None, now=NOW, **given)


def test_filters_refuse_one_end_given_twice() -> None:
    """--before and --older-than say the same."""
    with pytest.raises(BadUsage, match="--older-than"):
        read(before="2026-01-01", older_than="2d")


def test_select_takes_each_id_once_when_ids_are_given() -> None:
    """In the order they came."""
    assert select(["b", "a", "b"], Filters(), everything=False) == Ids(("b", "a"))


def test_select_asks_for_a_choice_when_nothing_is_given() -> None:
    """Nobody throws everything away by forgetting an option."""
    with pytest.raises(BadUsage, match="--all"):
        select([], Filters(), everything=False)


@pytest.mark.parametrize(
    ("filters", "everything"), [(Filters(status=404), False), (Filters(), True)]
)
def test_select_refuses_ids_with_filters(filters: Filters, everything: bool) -> None:
    """It would not be clear what is meant."""
    with pytest.raises(BadUsage, match="ids"):
        select(["a"], filters, everything=everything)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {"all": True}),
        (Filters(status=404), {"all": True, "status": 404}),
        (Filters("a", error="timeout"), {"destination": "a", "error": "timeout"}),
    ],
)
def test_selector_is_one_of_the_api(filters: Filters, expected: Json) -> None:
    """Exactly one of destination and all, narrowed by the rest."""
    assert Matching(filters).selector() == expected


def test_read_ids_takes_words_and_the_lines_of_dead_list() -> None:
    """So that both can be piped in."""
    assert read_ids(["a b\n", "\n", '{"id": "c", "attempts": 1}\n', "d"]) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("line", ["{", '{"x": 1}', '{"id": 5}'])
def test_read_ids_refuses_objects_without_an_id(line: str) -> None:
    """Instead of leaving them out."""
    with pytest.raises(BadUsage, match="standard input"):
        read_ids([line])


# In batches


def test_run_takes_all_of_them_in_pages() -> None:
    """At most a thousand at a time."""
    api = Letters(2500)
    assert apply(api).count == 2500
    assert [len(batch["ids"]) for batch in api.batches] == [1000, 1000, 500]
    assert api.ids == []


def test_run_does_not_touch_what_died_after_it_began() -> None:
    """Those come last in the list, and no more than there were at first are taken."""
    api = Letters(2500)
    assert apply(api, expected=1500).count == 1500
    assert api.ids[0] == f"{1500:028x}"


def test_run_redrives_a_message_once_when_it_dies_again() -> None:
    """Else it would go on forever."""
    api = Letters(3)
    api.die_again = set(api.ids)
    assert apply(api, expected=3).count == 3
    assert len(api.batches) == 1


def test_run_goes_on_past_those_that_somebody_else_deals_with() -> None:
    """They are still in the list, in front of all others, and are named at the end."""
    api = Letters(2500)
    api.taken = set(api.ids[:1100])
    progress = apply(api)
    assert progress.count == 1400
    assert progress.not_found == []
    assert set(progress.left) == api.taken == set(api.ids)


def test_run_goes_on_past_those_over_which_the_api_fails() -> None:
    """Each of the batch is tried alone; those to blame are named with what the API said."""
    api = Letters(1500)
    api.broken = {api.ids[3], api.ids[1200]}
    progress = apply(api)
    assert progress.count == 1498
    assert set(progress.left) == api.broken == set(api.ids)
    assert all("internal_error" in why for why in progress.left.values())


def test_run_names_those_that_cannot_be_read() -> None:
    """They stay, and the batch is not asked for again."""
    api = Letters(1500)
    api.damaged = {api.ids[3], api.ids[1200]}
    progress = apply(api)
    assert (progress.count, len(api.batches)) == (1498, 2)
    assert set(progress.left) == api.damaged


@pytest.mark.parametrize("error", [RefusedNow, Unreachable, KeyRefused])
def test_run_stops_when_the_api_does_nothing_at_all(error: type[CommandError]) -> None:
    """One after the other they would all be refused."""

    class Refusing(Letters):
        def post(self, path: str, body: Json | None = None) -> Json:
            self.batches.append(body or {})
            raise error("no")

    api = Refusing(1500)
    with pytest.raises(error):
        apply(api)
    assert len(api.batches) == 1


def test_run_counts_what_is_done_when_it_is_interrupted() -> None:
    """The person is told, and the same command goes on with the rest."""
    api = Letters(2500)
    api.fails_at = 1
    progress = Progress()
    with pytest.raises(KeyboardInterrupt):
        batches.run(
            api,
            PURGE,
            Matching(Filters()),
            expected=2500,
            progress=progress,
            advance=lambda _: None,
        )
    assert progress.count == 1000
    api.fails_at = None
    assert apply(api).count == 1500


@pytest.mark.parametrize(("count", "rate_per_s", "seconds"), [(5, 2, 2), (100, 10, 9), (3, 1, 2)])
def test_run_keeps_to_the_rate(count: int, rate_per_s: int, seconds: int) -> None:
    """A batch is what may go in a second, and waits for its second; the server is told too."""
    api, time = Letters(count), Time()
    apply(api, rate=rate_per_s, clock=lambda: time.now_s, sleep=time.sleep)
    assert time.now_s == pytest.approx(100 + seconds)
    assert all(len(batch["ids"]) <= batch["rate"] == rate_per_s for batch in api.batches)


# Figures


def test_rate_is_unknown_when_the_server_was_restarted() -> None:
    """Totals count from its start: one that shrank is no negative rate."""
    before, after = Look(1.0, {"x": 10}), Look(3.0, {"x": 14})
    assert rate("x", before, after) == 2.0
    assert rate("x", Look(1.0, {"x": 15}), after) is None
    assert rate("x", None, after) is None


def test_busiest_shows_those_with_most_to_do_when_room_is_short() -> None:
    """Equal ones by name."""
    lanes = [
        {"destination": name, "ready": ready, "scheduled": 0, "in_flight": 0}
        for name, ready in (("c", 1), ("b", 5), ("a", 1))
    ]
    assert [lane["destination"] for lane in busiest(lanes, 2)] == ["b", "a"]
    assert len(busiest(lanes, -3)) == 1


# Streams and text


def test_parse_reads_events_and_what_was_dropped() -> None:
    """Heartbeats, unknown fields and an event that is cut off are left out."""
    lines = (
        b": hello\n\nevent: dead\ndata: {\ndata: }\nid: 5\n\n: dropped 12\n\n"
        b"event:accepted\ndata:{}\n\nevent: x\ndata: [\n\nevent: dead\ndata: {}"
    )
    assert list(parse(lines.split(b"\n"))) == [
        Event("dead", {}),
        Dropped(12),
        Event("accepted", {}),
    ]


def test_clean_shows_what_would_move_the_cursor() -> None:
    """A target can't do with the terminal what it likes."""
    assert output.clean("a\x1b[2J\r\n\u202e\x9bü") == "a\\x1b[2J\\r\\n\\u202e\\x9bü"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (3 << 20, "3.0 MiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_size_is_for_people(number: int, expected: str) -> None:
    """In the unit that fits."""
    assert output.size(number) == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1", "http://h:1"),
        ("h:1", "http://h:1"),
        ("https://h/base/", "https://h:443/base"),
        ("http://[::1]:5", "http://[::1]:5"),
    ],
)
def test_server_reads_addresses(url: str, shown: str) -> None:
    """With http and its port where nothing else is said."""
    assert str(Server.parse(url, "--url")) == shown


@pytest.mark.parametrize(
    "url",
    ["", "ftp://h", "http://u:p@h", "http://h:0", "http://h:70000", "http://h?x", "a b", "h:"],
)
def test_server_refuses_what_is_no_address(url: str) -> None:
    """User information too: secrets don't belong into arguments."""
    with pytest.raises(BadUsage, match="--url"):
        Server.parse(url, "--url")

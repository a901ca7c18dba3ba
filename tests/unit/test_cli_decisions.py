"""What the command line decides without asking anybody: which dead letters, when, how fast."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.cli import batches, output, rates, times
from dispatcher.cli.address import Server
from dispatcher.cli.batches import REDRIVE, Progress
from dispatcher.cli.client import Api, Json
from dispatcher.cli.errors import BadUsage, CommandError, NotFound, RefusedNow, Unreachable
from dispatcher.cli.jobs import selection
from dispatcher.cli.selection import Filters, Ids, Matching, read_ids, select
from dispatcher.cli.sse import Dropped, Event, parse
from dispatcher.cli.top.figures import Look, rate

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Letters(Api):
    """An API that has a job do everything. Those ids in `taken` somebody else deals with, those in
    `damaged` cannot be read. `looks` are what is answered to one who looks at the job, the last
    one over and over; an error is raised."""

    def __init__(self, *looks: Json | BaseException) -> None:
        super().__init__(Server("http", "127.0.0.1", 1), None)
        self.taken: set[str] = set()
        self.damaged: set[str] = set()
        self.asked: list[Json] = []
        self.looks = list(looks)

    def begin(self, path: str, body: Json, *, at_once_s: int) -> tuple[Json, bool]:
        assert path == "/v1/dead-letters/redrive"
        self.asked.append(body)
        if self.looks:
            return job("running"), True
        return self.result(set(body.get("ids", ()))), False

    def result(self, wanted: set[str]) -> Json:
        """What is answered at the end."""
        missing = self.taken | (wanted & GONE)
        done = len(wanted - missing - self.damaged)
        return {
            "redriven": done,
            "not_found": sorted(wanted & missing),
            "failed": sorted(self.damaged),
        }

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Json:
        assert path == "/v1/jobs/5e0f3a91"
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, BaseException):
            raise look
        return look

    def post(self, path: str, body: Json | None = None) -> Json:
        assert body is not None
        assert body["dry_run"] is True
        return {"redriven": 0, "not_found": sorted(set(body["ids"]) & GONE)}


GONE = {"gone"}
RESULT: Json = {"redriven": 5, "not_found": []}


def job(state: str, done: int = 0, **more: Any) -> Json:
    """A job as the API shows it."""
    fields = {"id": "5e0f3a91", "kind": "redrive", "unit": "messages", "total": 5, "skipped": 0}
    return {**fields, "state": state, "done": done, **more}


def apply(api: Letters, *ids: str, rate: int | None = None, told: Any = None) -> Progress:
    """Redrive these, or all there is."""
    progress = Progress()
    selection = Ids(ids) if ids else Matching(Filters())
    batches.run(
        api,
        REDRIVE,
        selection,
        progress=progress,
        told=told or (lambda _: None),
        rate=rate,
        sleep=lambda _: None,
    )
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


# As a job


def test_all_are_one_job_with_its_rate() -> None:
    """However many: the server spreads them."""
    api = Letters()
    apply(api, rate=50)
    assert api.asked == [{"all": True, "rate": 50}]


def test_very_many_ids_are_several_jobs() -> None:
    """One after the other, each with as many as the API takes."""
    api = Letters()
    ids = [f"{number:028x}" for number in range(25_000)]
    assert apply(api, *ids).count == 25_000
    assert [len(body["ids"]) for body in api.asked] == [10_000, 10_000, 5_000]


def test_job_is_followed_to_its_end_and_its_result_counts() -> None:
    """Every look is shown."""
    seen: list[int] = []
    api = Letters(job("running", 2), job("running", 4), job("done", 5, result=RESULT))
    assert apply(api, told=lambda one: seen.append(one["done"])).count == 5
    assert seen == [0, 2, 4, 5]


def test_those_that_are_left_are_named() -> None:
    """Those that cannot be read, or that somebody else deals with; not those that are gone."""
    api = Letters()
    api.damaged, api.taken = {"b"}, {"c"}
    progress = apply(api, "a", "b", "c", "gone")
    assert progress.count == 1
    assert progress.not_found == ["gone"]
    assert set(progress.left) == {"b", "c"}


def test_job_that_was_cancelled_is_an_error_that_says_what_is_done() -> None:
    """By somebody else."""
    with pytest.raises(CommandError, match="cancelled: 3 messages are done"):
        apply(Letters(job("cancelled", 3)))


def test_job_that_failed_says_why() -> None:
    """And what is done."""
    failed = job("failed", 3, error="disk_full", message="There is no space.")
    with pytest.raises(RefusedNow, match=r"no space\. \(disk_full\) 3 messages are done"):
        apply(Letters(failed))


@pytest.mark.parametrize("error", [Unreachable("?"), RefusedNow("log_busy")])
def test_connection_that_breaks_does_not_end_the_following(error: CommandError) -> None:
    """Nor does a server that is busy: the job goes on without them."""
    api = Letters(error, error, job("done", 5, result=RESULT))
    assert apply(api).count == 5


@pytest.mark.parametrize(
    ("error", "word"),
    [(Unreachable("?"), "goes on"), (RefusedNow("?"), "goes on"), (NotFound("?"), "restarted")],
)
def test_job_that_is_lost_sight_of_is_told(error: CommandError, word: str) -> None:
    """Whether it goes on, as far as one can know."""
    with pytest.raises(CommandError, match=word):
        apply(Letters(error))


def test_interrupted_command_says_how_to_end_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on."""
    with pytest.raises(KeyboardInterrupt):
        apply(Letters(KeyboardInterrupt()))
    said = capsys.readouterr().err
    assert "goes on" in said
    assert "dispatcher jobs cancel 5e0f3a91" in said


# Figures


def test_rate_is_unknown_when_the_server_was_restarted() -> None:
    """Totals count from its start: one that shrank is no negative rate."""
    before, after = Look(1.0, {"x": 10}), Look(3.0, {"x": 14})
    assert rate("x", before, after) == 2.0
    assert rate("x", Look(1.0, {"x": 15}), after) is None
    assert rate("x", None, after) is None


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


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"destination": "http://a.example", "all": True}, "destination=http://a.example all=yes"),
        ({"ids": ["1", "2"], "of": 2}, "ids=1,2 of=2"),
        ({"application": "", "name": "nightly", "rate": 0}, "name=nightly rate=0"),
        ({}, None),
        (None, None),
    ],
)
def test_selection_is_one_line_and_none_where_nothing_was_selected(
    given: Mapping[str, object] | None, shown: str | None
) -> None:
    """An import selects nothing: a table has a dash there, as everywhere."""
    assert selection(given) == shown


@pytest.mark.parametrize(("typed", "sent"), [("50", 50), ("10/1m", "10/1m"), ("5/s", "5/s")])
def test_rate_of_a_job_is_sent_as_it_was_typed(typed: str, sent: int | str) -> None:
    """A bare number is a second's."""
    assert rates.sent(typed, "--rate") == sent


@pytest.mark.parametrize("typed", ["", "fast", "-1", "5/x", "1.5", "none"])
def test_what_is_no_rate_is_refused_with_what_is_expected(typed: str) -> None:
    """And with the name of the option."""
    with pytest.raises(BadUsage, match=r"^--rate: expected a number a second, or .*10/1m"):
        rates.sent(typed, "--rate")

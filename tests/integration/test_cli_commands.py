"""Commands against the whole API: what they print, and what they end with."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.cli.main import main
from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import MessageFilter, MessagePage, MessageState, Totals
from dispatcher.testing.admin import MemoryAdmin, dead_call, letter, message, message_id
from dispatcher.txlog.files import FileLog
from dispatcher.txlog.files.frame import offset_of
from dispatcher.txlog.files.segment import name_of
from tests.integration.cli_running import Run, Said, one_line, runner
from tests.integration.cli_serving import Canned, Served, answer, heard, served

UNKNOWN = message_id(9999)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DISPATCHER_API", "DISPATCHER_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process; `stdin` is what is piped into it."""

    command = runner(capsys, monkeypatch)

    def run(*arguments: str, stdin: str = "") -> Said:
        said = command(*arguments, stdin=stdin)
        assert not any("\u2500" <= char <= "\u259f" for char in said.out)  # boxes
        return said

    return run


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """An API with one message in each state and three dead letters."""
    admin = MemoryAdmin()
    admin.put(message(1))
    admin.put(message(2, MessageState.SCHEDULED))
    admin.put(message(3, MessageState.IN_FLIGHT, "b"))
    admin.put(message(4, MessageState.DELIVERED))
    admin.bury(letter(11))
    admin.bury(letter(12, to="b", status=404, reason="rejected"))
    admin.bury(letter(13, status=None, error="timeout"))
    with served(admin) as found:
        monkeypatch.setenv("DISPATCHER_API", found.url)
        yield found


# What there is


def test_stats_shows_figures_and_lanes(api: Served, run: Run) -> None:
    """For people and for programs."""
    said = run("stats")
    assert said.code == 0
    assert "accepted:      4" in said.out
    assert "https://a.example  1" in said.out
    (document,) = run("stats", "--json").lines()
    assert document["dead"] == 3


def test_cluster_status_shows_who_has_what(api: Served, run: Run) -> None:
    """Members, then partitions; 1 where nobody serves one."""
    said = run("cluster", "status")
    assert said.code == 1
    members, partitions = (part.splitlines() for part in said.out.strip().split("\n\n"))
    assert members[0].split() == [
        "number",
        "node",
        "state",
        "since",
        "partitions",
        "api",
        "address",
    ]
    cells = [re.split("  +", line) for line in members[1:]]
    assert [one[:3] + one[4:] for one in cells] == [
        ["0", "node-1", "live", "0, 2", "yes", "node-1.example:8082"],
        ["1", "node-2", "live", "1, 5", "-", "node-2.example:8082"],
        ["2", "node-3", "away", "3", "-", "node-3.example:8082"],
    ]
    cells = [re.split("  +", line) for line in partitions[1:]]
    assert [one[:3] for one in cells] == [
        ["0", "node-1", "open"],
        ["1", "node-2", "open"],
        ["2", "node-1", "opening"],
        ["3", "node-3", "away"],
        ["4", "-", "free"],
        ["5", "node-2", "failed"],
    ]
    assert cells[1][4:] == ["3", "13", "52428800", "-"]
    assert cells[5][-1] == "the log ends too soon"
    as_json = run("cluster", "status", "--json")
    assert as_json.code == 1
    document = json.loads(as_json.out)
    assert [one["state"] for one in document["members"]] == ["live", "live", "away"]


def test_stats_and_lists_say_what_is_not_in_them(
    api: Served, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of the server is being started again: its messages are not lost, but not shown."""
    totals, waiting = api.admin.totals, api.admin.waiting

    async def without_one() -> Totals:
        return replace(await totals(), incomplete=(1, 3))

    async def page_without_one(which: MessageFilter, *, cursor: int, limit: int) -> MessagePage:
        return replace(await waiting(which, cursor=cursor, limit=limit), incomplete=(1,))

    monkeypatch.setattr(api.admin, "totals", without_one)
    monkeypatch.setattr(api.admin, "waiting", page_without_one)
    assert run("stats").err.startswith("Without what is in partition 1, 3: the process")
    assert run("messages", "list").err.startswith("Without what is in partition 1:")
    assert run("stats", "--json").err == ""


@pytest.mark.parametrize("command", ["message", "explain"])
def test_message_and_explain_say_where_it_stands(api: Served, run: Run, command: str) -> None:
    """With its state; exit code 6 when it is not known, 2 when it is no id."""
    said = run(command, message_id(2))
    assert said.code == 0
    assert "scheduled" in said.out
    assert "2026-01-01T00:01:02.000Z" in said.out
    (document,) = run(command, message_id(2), "--json").lines()
    assert document["state"] == "scheduled"
    line = one_line(run(command, UNKNOWN), 6)
    assert "message_unknown" in line
    assert "dispatcher calls" in line
    assert "id_invalid" in one_line(run(command, "../x"), 2)


def test_cancel_forgets_a_message(api: Served, run: Run) -> None:
    """Exit code 6 the second time."""
    assert run("cancel", message_id(1)).code == 0
    assert message_id(1) not in api.admin.messages
    one_line(run("cancel", message_id(1)), 6)
    assert run("cancel", message_id(2), "--json").lines() == [
        {"id": message_id(2), "cancelled": True}
    ]


def test_cancel_takes_yes_although_it_does_not_ask(api: Served, run: Run) -> None:
    """As the commands that do."""
    assert run("cancel", message_id(1), "--yes").code == 0
    assert message_id(1) not in api.admin.messages


@pytest.mark.parametrize(("number", "slug"), [(3, "message_in_flight"), (4, "message_delivered")])
def test_cancel_exits_9_when_it_is_too_late(api: Served, run: Run, number: int, slug: str) -> None:
    """The state does not allow it."""
    assert slug in one_line(run("cancel", message_id(number)), 9)


def test_hold_and_resume_spell_the_destination(api: Served, run: Run) -> None:
    """As everything else does."""
    assert "https://b.example is held" in run("hold", "HTTPS://b.example:443").out
    assert api.admin.held == {"https://b.example"}
    assert run("resume", "https://b.example", "--json").lines() == [
        {"destination": "https://b.example", "held": False, "paused": False}
    ]
    assert api.admin.held == set()
    assert "destination_invalid" in one_line(run("hold", "a b/c"), 2)
    assert "destination_invalid" in one_line(run("resume", "a b/c"), 2)


def test_hold_and_resume_have_older_names(api: Served, run: Run) -> None:
    """Scripts go on working; the help shows one name of each."""
    now, name = ("destinations", "hold"), "https://b.example"
    assert run("pause", name).out == run("hold", name).out == run(*now, name).out
    assert api.admin.held == {name}
    assert "`dispatcher destinations resume https://b.example` ends it" in run("hold", name).out
    assert "no longer held" in run("destinations", "resume", name).out
    told = re.findall(r"^  (hold|pause|resume|destinations) ", run("--help").out, re.MULTILINE)
    assert told == ["destinations"]


def test_destinations_are_listed_with_how_they_stand(api: Served, run: Run) -> None:
    """By name, all or those that match; as many as are asked for, and that there are more."""
    api.admin.held.add("https://held.example")
    api.admin.backing_off["https://a.example"] = 1_900_000_000_000_000
    said = run("destinations", "list")
    titles, *rows = [re.split("  +", line) for line in said.out.splitlines()]
    names = [row[0] for row in rows]
    assert names == sorted(names)
    states = {row[0]: row[titles.index("state")] for row in rows}
    assert states["https://held.example"] == "held"
    assert states["https://a.example"] == "backs off"
    for options, found in (
        (("--state", "held"), ["https://held.example"]),
        (("--state", "failing"), ["https://a.example"]),
        (("HELD.ex",), ["https://held.example"]),
        (("none",), []),
        (("--limit", "1"), names[:1]),
    ):
        lanes = run("destinations", "list", *options, "--json").lines()
        assert [lane["destination"] for lane in lanes] == found
    assert "--limit 0" in run("destinations", "list", "--limit", "1").err
    assert "failing or held" in one_line(run("destinations", "list", "--state", "ok"), 2)


def test_resume_says_what_is_true(api: Served, run: Run) -> None:
    """Whether it was held, and what happens now: the breaker may have a say of its own."""
    name = "https://b.example"
    assert run("resume", "nobody").out == "http://nobody was not held.\nNothing waits for it.\n"
    assert run("resume", name).out == f"{name} was not held.\nMessages are sent there.\n"
    run("hold", name)
    assert run("resume", name).out == f"{name} is no longer held.\nMessages are sent there.\n"
    api.admin.backing_off[name] = 1_900_000_000_000_000
    assert "It backs off until 2030-03-17T17:46:40.000Z" in run("resume", name).out


def test_cancel_takes_many_and_names_those_that_cannot_be_cancelled(api: Served, run: Run) -> None:
    """Each by its id; the others are cancelled all the same."""
    wanted = (UNKNOWN, *map(message_id, (1, 3, 2, 4, 1, 11, 3)))
    found = run("cancel", *wanted)
    assert found.out == f"{message_id(1)} is cancelled.\n{message_id(2)} is cancelled.\n"
    assert found.code == 9
    refused = (UNKNOWN, *map(message_id, (3, 4, 11)))
    assert all(one in line for one, line in zip(refused, found.err.splitlines(), strict=True))
    assert "message_dead" in found.err.splitlines()[-1]
    assert not {message_id(1), message_id(2)} & set(api.admin.messages)


def test_dead_list_refuses_an_error_that_does_not_exist(api: Served, run: Run) -> None:
    """And shows the words there are; those that are printed can be typed."""
    line = one_line(run("dead", "list", "--error", "nonsense"), 2)
    assert line.startswith("dispatcher: error: --error: expected one of connection_failed, ")
    (found,) = run("dead", "list", "--error", "http_404", "--json").lines()
    assert found["last_status"] == 404


# Dead letters


def test_dead_list_shows_them_oldest_first(api: Served, run: Run) -> None:
    """One object a line for programs."""
    assert [line["id"] for line in run("dead", "list", "--json").lines()] == [
        message_id(number) for number in (11, 12, 13)
    ]
    rows = run("dead", "list").out.splitlines()
    assert rows[0].split()[:2] == ["id", "died"]
    assert rows[3].split()[-4:] == ["timeout", "18", "B", "-"]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--status", "404"], [12]),
        (["--error", "timeout"], [13]),
        (["--destination", "https://a.example"], [11, 13]),
        (["--before", "2026-01-01T00:00:12Z"], [11]),
        (["--after", "2026-01-01T00:00:12Z"], [13]),
        (["--older-than", "1d", "--status", "503"], [11]),
        (["--after", "2027-01-01"], []),
    ],
)
def test_dead_list_filters(api: Served, run: Run, options: list[str], numbers: list[int]) -> None:
    """By what the options say."""
    found = run("dead", "list", "--json", *options).lines()
    assert [line["id"] for line in found] == [message_id(number) for number in numbers]


def test_table_can_be_read_by_a_program(api: Served, run: Run) -> None:
    """Two blanks between columns, none within; `-` for nothing; instants whole; no tabs."""
    said = run("dead", "list")
    assert "\t" not in said.out
    titles, *rows = [re.split(" {2,}", line) for line in said.out.splitlines()]
    assert {len(row) for row in rows} == {len(titles)}
    assert [row[titles.index("id")] for row in rows] == [message_id(n) for n in (11, 12, 13)]
    assert all(row[titles.index("died")].endswith("Z") for row in rows)
    assert [row[titles.index("label")] for row in rows] == ["-", "-", "-"]
    assert run("dead", "list", "--wide").out == said.out


def test_empty_table_has_its_titles_for_a_program(api: Served, run: Run) -> None:
    """It reads them before it looks for rows."""
    said = run("dead", "list", "--status", "598")
    assert (said.code, said.err) == (0, "")
    assert said.out.split()[:2] == ["id", "died"]
    assert said.out.count("\n") == 1


def test_dead_list_says_so_when_there_are_more(api: Served, run: Run) -> None:
    """On standard error; --limit 0 reads every page."""
    said = run("dead", "list", "--limit", "2", "--json")
    assert len(said.lines()) == 2
    assert "--limit 0" in said.err
    for number in range(100, 1100):
        api.admin.bury(letter(number))
    said = run("dead", "list", "--limit", "0", "--json")
    assert len({line["id"] for line in said.lines()}) == 1003
    assert said.err == ""


def test_dead_show_shows_request_body_and_attempts(api: Served, run: Run) -> None:
    """Everything that is known."""
    said = run("dead", "show", message_id(11))
    assert said.code == 0
    for part in ('{"hello": "world"}', "Content-Type: application/json", "retries_exhausted"):
        assert part in said.out
    assert "no \ufffd capacity" in said.out
    (document,) = run("dead", "show", message_id(11), "--json").lines()
    assert base64.b64decode(str(document["body"])) == b'{"hello": "world"}'
    one_line(run("dead", "show", message_id(1)), 6)


def test_dead_show_writes_the_body_byte_for_byte_when_asked(
    api: Served, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Nothing else, and no line end."""
    api.admin.bury(letter(20, body=b"\xff\x00\n\r"))
    with pytest.raises(SystemExit) as ended:
        main(["dead", "show", message_id(20), "--body"])
    assert not ended.value.code
    assert capfdbinary.readouterr().out == b"\xff\x00\n\r"


def test_dead_groups_counts_by_cause(api: Served, run: Run) -> None:
    """The largest first."""
    api.admin.bury(letter(14, to="b", status=404, reason="rejected"))
    found = run("dead", "groups", "--json").lines()
    assert (found[0]["destination"], found[0]["count"]) == ("https://b.example", 2)
    assert run("dead", "groups", "--status", "404").out.count("\n") == 2


def test_dead_calls_are_told_apart(api: Served, run: Run) -> None:
    """By kind, function and status; shown with their input."""
    api.admin.bury(dead_call(20))
    api.admin.bury(dead_call(21, function="refund"))
    call = f"{1 << 63 | 20:028x}"
    assert "call charge" in run("dead", "list", "--function", "charge").out
    assert run("dead", "list", "--kind", "call").out.count("\n") == 3
    assert "refund" in run("dead", "groups", "--error", "permanent_error").out
    said = run("dead", "show", call)
    for part in ("call charge", "Input (13 B)", "ValueError", "no such card", "application"):
        assert part in said.out
    assert "Headers" not in said.out
    assert "Attempts" not in said.out
    _, _, runs = said.out.partition("\nRuns\n")
    assert "permanent_error" in runs
    assert "--kind" in one_line(run("dead", "list", "--kind", "letter"), 2)
    assert run("dead", "redrive", "--kind", "call", "--function", "refund").code == 0
    assert f"{1 << 63 | 21:028x}" not in api.admin.dead


def test_dead_show_marks_what_a_call_does_not_have(api: Served, run: Run) -> None:
    """As elsewhere: nothing stands for it but a dash."""
    detail = dead_call(20)
    assert detail.call is not None
    api.admin.bury(replace(detail, call=replace(detail.call, application="", version="")))
    lines = run("dead", "show", f"{1 << 63 | 20:028x}").out.splitlines()
    shown = [line.split() for line in lines]
    assert ["application:", "-"] in shown
    assert ["version:", "-"] in shown


def test_dead_redrive_says_that_nobody_serves_calls(api: Served, run: Run) -> None:
    """After what could be redriven."""
    api.admin.has_functions = False
    api.admin.bury(dead_call(20))
    said = run("dead", "redrive", "--all", "--yes")
    assert said.out == "3 dead letters were redriven.\n"
    assert "no function service" in said.err
    assert said.code == 1


def test_dead_redrive_takes_ids(api: Served, run: Run) -> None:
    """Those that are none are named, with exit code 6, after the others are done."""
    said = run("dead", "redrive", message_id(11), UNKNOWN)
    assert said.out == "1 dead letter was redriven.\n"
    assert UNKNOWN in one_line(said, 6)
    assert set(api.admin.dead) == {message_id(12), message_id(13)}


def test_dead_redrive_takes_ids_from_standard_input(api: Served, run: Run) -> None:
    """The lines of `dead list --json` do."""
    listed = run("dead", "list", "--json", "--destination", "https://a.example").out
    said = run("dead", "redrive", "-", "--json", stdin=listed)
    assert said.lines() == [{"redriven": 2, "not_found": [], "dry_run": False}]
    assert "no ids" in one_line(run("dead", "redrive", "-"), 2)


def test_dead_redrive_takes_filters_and_a_rate(api: Served, run: Run) -> None:
    """The server is told the rate as well."""
    assert run("dead", "redrive", "--status", "503", "--rate", "50").code == 0
    assert message_id(11) not in api.admin.dead
    assert api.admin.rates[-1] == 50


def test_dead_redrive_changes_nothing_when_it_is_a_dry_run(api: Served, run: Run) -> None:
    """And needs no --yes for --all."""
    assert run("dead", "redrive", "--all", "--dry-run").out.startswith("3 dead letters would be")
    assert run("dead", "purge", "--all", "--dry-run", "--json").lines() == [
        {"purged": 3, "not_found": [], "dry_run": True}
    ]
    assert len(api.admin.dead) == 3


@pytest.mark.parametrize(
    "arguments", [("redrive", "--all"), ("purge", "--status", "404"), ("purge", message_id(11))]
)
def test_dead_refuses_when_nobody_can_be_asked(
    api: Served, run: Run, arguments: tuple[str, ...]
) -> None:
    """Without --yes: exit code 2, nothing changed. With it, it is done."""
    assert "--yes" in one_line(run("dead", *arguments, stdin="y\n"), 2)
    assert len(api.admin.dead) == 3
    assert run("dead", *arguments, "--yes").code == 0
    assert len(api.admin.dead) < 3


def test_dead_purge_takes_many_in_pages(api: Served, run: Run) -> None:
    """More than the API lists or takes at once."""
    for number in range(100, 2600):
        api.admin.bury(letter(number))
    said = run("dead", "purge", "--all", "--yes")
    assert (said.code, said.out, said.err) == (0, "2503 dead letters were purged.\n", "")
    assert api.admin.dead == {}


def test_dead_exits_9_when_the_server_refuses_now(api: Served, run: Run) -> None:
    """With its reason."""
    api.admin.refusal = Refusal(503, "disk_full", "There is no space for the log.", 5)
    assert "disk_full" in one_line(run("dead", "redrive", message_id(11)), 9)


# Where the API is, and how it answers


def test_commands_exit_8_when_the_key_is_wrong(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Right ones come from a file, the environment or the settings; none is ever shown."""
    (tmp_path / "key").write_text("sesame\n")
    with served(MemoryAdmin(), (b"sesame",)) as api:
        options = ("stats", "--url", api.url)
        one_line(run(*options), 8)
        assert run(*options, "--key-file", "key").code == 0
        monkeypatch.setenv("API_KEYS", "sesame,other")
        monkeypatch.setenv("API_LISTEN", f"127.0.0.1:{api.port}")
        assert run(*options).code == 0
        monkeypatch.setenv("DISPATCHER_KEY", "wrong1")
        assert "wrong1" not in one_line(run(*options), 8)


SETTING = {"API_KEYS": "mon:read:watching,app:dispatch:calling,ops:admin:sesame,other"}
VARIABLE = {"DISPATCHER_KEY": "of-variable"}


@pytest.mark.parametrize(
    ("environ", "options", "key"),
    [
        # Of the settings, only to the address of the settings.
        (SETTING | {"API_LISTEN": "127.0.0.1:1"}, ["--url", "HERE"], None),
        (SETTING | {"API_LISTEN": "10.0.0.1:PORT"}, ["--url", "HERE"], None),
        (SETTING | {"API_LISTEN": "127.0.0.1:1", "DISPATCHER_API": "HERE"}, [], None),
        (SETTING | {"API_LISTEN": "127.0.0.1:PORT"}, [], "sesame"),
        (SETTING | {"API_LISTEN": "localhost:PORT"}, ["--url", "HERE"], "sesame"),
        (SETTING | {"API_LISTEN": ":PORT", "DISPATCHER_API": "HERE"}, [], "sesame"),
        ({"API_KEYS": "mon:read:watching", "API_LISTEN": "127.0.0.1:PORT"}, [], "watching"),
        ({"API_KEYS": "app:dispatch:calling", "API_LISTEN": "127.0.0.1:PORT"}, [], None),
        ({"API_KEYS_FILE": "keys", "API_LISTEN": "127.0.0.1:PORT"}, [], "of-file"),
        # Of the variable, to the address of the variable where there is one.
        (VARIABLE, ["--url", "HERE"], "of-variable"),
        (VARIABLE | {"DISPATCHER_API": "HERE"}, [], "of-variable"),
        (VARIABLE | {"DISPATCHER_API": "HERE"}, ["--url", "HERE/"], "of-variable"),
        (VARIABLE | {"DISPATCHER_API": "http://127.0.0.1:1"}, ["--url", "HERE"], None),
        # Of the option, wherever the options say.
        (
            SETTING | VARIABLE | {"DISPATCHER_API": "http://127.0.0.1:1"},
            ["--url", "HERE", "--key-file", "keys"],
            "of-file",
        ),
    ],
)
def test_key_goes_only_to_the_server_it_belongs_to(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environ: dict[str, str],
    options: list[str],
    key: str | None,
) -> None:
    """Whoever is named by `--url` is not told the key of another server."""
    (tmp_path / "keys").write_text("of-file\n")
    with Canned([answer(200, "{}")]) as server:

        def here(text: str) -> str:
            return text.replace("HERE", server.url).replace("PORT", str(server.port))

        for name, value in environ.items():
            monkeypatch.setenv(name, here(value))
        assert run("stats", *map(here, options), "--json").code == 0
        (request,) = server.requests
    shown = [line for line in request.split(b"\r\n") if line.lower().startswith(b"authorization")]
    assert shown == ([] if key is None else [f"Authorization: Bearer {key}".encode()])


@pytest.mark.parametrize("content", ["", "two keys", "kéy"])
def test_key_file_must_have_one_key_in_it(run: Run, tmp_path: Path, content: str) -> None:
    """Exit code 2 names the file, not what is in it."""
    (tmp_path / "key").write_text(content, encoding="utf-8")
    line = one_line(run("stats", "--url", "h:1", "--key-file", "key"), 2)
    assert not content or content not in line
    one_line(run("stats", "--url", "h:1", "--key-file", "missing"), 2)


def test_api_is_where_the_settings_say(
    api: Served, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wildcard is reached over loopback; any free port is not known."""
    monkeypatch.delenv("DISPATCHER_API")
    monkeypatch.setenv("API_LISTEN", f"127.0.0.1:{api.port}")
    assert run("stats").code == 0
    monkeypatch.setenv("API_LISTEN", f":{api.port}")
    monkeypatch.setenv("API_KEYS", "any")
    assert run("stats").code == 0
    monkeypatch.setenv("API_LISTEN", "127.0.0.1:0")
    assert "--url" in one_line(run("stats"), 2)
    monkeypatch.setenv("API_LISTEN", "nonsense")
    assert "API_LISTEN=nonsense" in one_line(run("stats"), 2)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (answer(200, "<html>"), 1),
        (answer(200, "[]"), 1),
        (answer(302, ""), 1),
        (answer(400, "no"), 1),
        (answer(401, '{"error": "key_invalid", "message": "m"}'), 8),
        (answer(403, ""), 8),
        (answer(404, '{"error": "not_found", "message": "m"}'), 1),
        (answer(409, '{"error": "x", "message": "m"}'), 9),
        (answer(429, ""), 9),
        (answer(500, '{"error": "internal_error", "message": "m"}'), 1),
        (answer(503, '{"error": "disk_full", "message": "a\\nb\\u001b[2J"}'), 9),
        (b"nonsense\r\n\r\n", 7),
        (b"", 7),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", 7),
    ],
)
def test_commands_end_with_the_code_of_the_answer(run: Run, response: bytes, code: int) -> None:
    """One line each, whatever is at the other end."""
    with Canned([response]) as server:
        one_line(run("stats", "--url", server.url), code)


def test_commands_exit_7_when_nobody_listens(run: Run) -> None:
    """The line says how to name another address."""
    with Canned([]) as server:
        url = server.url
    assert "--url" in one_line(run("stats", "--url", url), 7)


def test_commands_ignore_proxies(api: Served, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys go to the address that was named."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert run("stats").code == 0


# Streams


def test_tail_prints_events_until_it_has_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters are applied, a broken connection is made again, what was dropped is told."""
    monkeypatch.setattr("dispatcher.cli.sse._FIRST_WAIT_SECONDS", 0.0)
    events = (
        'event: accepted\ndata: {"id": "1", "destination": "https://a.example"}\n\n'
        ": dropped 7\n\n"
        'event: dead\ndata: {"id": "2", "destination": "https://b.example", "reason": "rejected",'
        ' "attempts": 1, "time": "2026-01-01T00:00:00.000000Z"}\n\n'
    )
    stream = answer(200, events, "Content-Type: text/event-stream")
    with Canned([stream, b"", stream]) as server:
        said = run("tail", "--url", server.url, "--kind", "dead", "-n", "2")
        assert said.code == 0
        line = "2026-01-01T00:00:00.000Z  dead       2  https://b.example  rejected after 1 attempt"
        assert said.out == f"{line}\n{line}\n"
        assert "7 events not shown" in said.err
        assert "connecting again" in said.err


def test_tail_prints_what_has_a_label(run: Run) -> None:
    """Of several, any; the label ends the line."""
    events = "".join(
        f'event: delivered\ndata: {{"id": "{number}", "destination": "https://a.example",'
        f' "attempt": 1, "status": 200, "duration_ms": 3{label}}}\n\n'
        for number, label in enumerate(("", ', "label": "a"', ', "label": "b"', ', "label": "c"'))
    )
    with Canned([answer(200, events, "Content-Type: text/event-stream")]) as server:
        said = run("tail", "--url", server.url, "--label", "a", "--label", "c", "-n", "2")
    assert [line.split()[-1] for line in said.out.splitlines()] == ["a", "c"]
    assert said.out.splitlines()[0].endswith("attempt 1: 200 in 3 ms  a")


def test_tail_prints_what_the_api_sends(api: Served, run: Run) -> None:
    """As JSON, the kind beside the fields."""
    teller = threading.Thread(target=_emit_when_heard, args=(api,))
    teller.start()
    said = run("tail", "--json", "--destination", "https://a.example", "-n", "1")
    teller.join()
    (event,) = said.lines()
    assert (event["event"], event["id"], event["attempt"]) == ("delivered", message_id(5), 1)


def _emit_when_heard(api: Served) -> None:
    """Tell of two messages as soon as somebody listens."""
    heard(api)
    fields = {"attempt": 1, "status": 200, "duration_ms": 3}
    api.tell(lambda: api.admin.emit("delivered", message_id(6), "https://b.example", **fields))
    api.tell(lambda: api.admin.emit("delivered", message_id(5), "https://a.example", **fields))


def test_tail_exits_7_when_it_cannot_connect_at_first(run: Run) -> None:
    """Later it goes on trying, for as long as it takes."""
    one_line(run("tail", "--url", "http://127.0.0.1:1"), 7)


def test_top_asks_for_a_terminal(api: Served, run: Run) -> None:
    """And says what works without."""
    assert "stats" in one_line(run("top"), 2)


def test_commands_end_quietly_when_their_reader_is_gone(api: Served) -> None:
    """As in `dispatcher dead list | head -1`."""
    for number in range(100, 1100):
        api.admin.bury(letter(number))
    command = [sys.executable, "-m", "dispatcher", "dead", "list", "--limit", "0", "--json"]
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout, process.stderr:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


# Settings


def test_config_says_where_each_setting_comes_from(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Environment, file or default; secrets hidden."""
    (tmp_path / "d.toml").write_text("WORKER = 3\nretry_limit = 4\n")
    monkeypatch.setenv("DISPATCHER_CONFIG", "d.toml")
    monkeypatch.setenv("WORKER", "5")
    monkeypatch.setenv("API_KEYS", "sesame")
    found = {line["setting"]: line for line in _settings(run)}
    assert found["WORKER"] == {"setting": "WORKER", "value": 5, "source": "environment"}
    assert found["RETRYLIMIT"] == {"setting": "RETRYLIMIT", "value": 4, "source": "file d.toml"}
    assert found["EGRESS"]["source"] == "default"
    assert "sesame" not in str(found) + run("config").out
    assert "RETRYLIMIT" in run("config").out
    (document,) = run("config", "check", "--json").lines()
    assert document["WORKER"] == 5


def _settings(run: Run) -> list[dict[str, object]]:
    return run("config", "--json").lines()


def test_config_exits_2_when_a_setting_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a start would."""
    monkeypatch.setenv("WORKER", "x")
    assert "WORKER=x" in one_line(run("config"), 2)


def test_config_shows_rules_without_secrets_and_says_what_is_wrong_with_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For people, and as JSON; a mistake is exit code 2, as at a start."""
    text = """
        [[destination]]
        match = "https://*.example.com/in"
        timeout = "90s"
        retry_on = [404, 409]
        headers = { Authorization = "env:TOKEN", X-A = "hush" }
        sign = { kind = "standard-webhooks", secrets = ["env:KEY"] }
        [[destination]]
        match = "*"
        rate = "50/s"
        [[group]]
        name = "all"
        members = ["http://a.example/in", "b.example"]
    """
    (tmp_path / "d.toml").write_text(text)
    monkeypatch.setenv("DISPATCHER_CONFIG", "d.toml")
    monkeypatch.setenv("TOKEN", "hush-hush")
    monkeypatch.setenv("KEY", "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNo")
    out = run("config", "check").out
    assert out.splitlines()[-3:] == [
        "destination 1: match=https://*.example.com/in timeout=1m30s retry_on=[404, 409] "
        "headers={Authorization: env:TOKEN, X-A: hidden} "
        "sign={kind: standard-webhooks, secrets: [env:KEY]}",
        "destination 2: match=* rate=50/s burst=50",
        "group 1: name=all members=[http://a.example/in, http://b.example]",
    ]
    (document,) = run("config", "check", "--json").lines()
    assert document["destination 2"] == {"match": "*", "rate": "50/s", "burst": 50}
    assert "hush" not in out + str(document) + run("config").out
    assert _settings(run)[-1] == {
        "setting": "group 1",
        "value": {"name": "all", "members": ["http://a.example/in", "http://b.example"]},
        "source": "file d.toml",
    }
    (tmp_path / "d.toml").write_text(text.replace("timeout", "timeuot"))
    assert "timeuot: no such key; did you mean timeout?" in one_line(run("config", "check"), 2)


async def _log(directory: Path) -> int:
    """A log with three records. Returns the position of the second."""
    log = FileLog(directory)
    await log.open("test", 1)
    positions = [(await log.append([bytes(3)]))[0] for _ in range(3)]
    await log.close()
    return positions[1]


def test_log_verify_is_one_document_when_json_is_asked_for(run: Run, tmp_path: Path) -> None:
    """Exit code 5 with the file and the offset, when it is damaged."""
    position = asyncio.run(_log(tmp_path / "log"))
    said = run("log", "verify", "--path", "log", "--json")
    (document,) = said.lines()
    end = document.pop("end")
    assert isinstance(end, int)
    assert end > position
    assert said.code == 0
    assert document == {"log": "log", "intact": True, "records": 3, "torn_tails": []}
    file = tmp_path / "log" / name_of(position >> 32)
    content = bytearray(file.read_bytes())
    content[offset_of(position) + 8] ^= 1
    file.write_bytes(content)
    said = run("log", "verify", "--path", "log", "--json")
    (document,) = said.lines()
    assert (said.code, document["intact"]) == (5, False)
    assert str(offset_of(position)) in str(document["damage"])


def test_version_is_one_document_when_json_is_asked_for(run: Run) -> None:
    """For scripts."""
    (document,) = run("version", "--json").lines()
    assert set(document) == {"version"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["send"],
        ["tail"],
        ["top"],
        ["config"],
        ["dead", "list"],
        ["dead", "redrive"],
        ["dead", "purge"],
        ["log", "verify"],
    ],
)
def test_help_has_a_sentence_and_options(run: Run, arguments: list[str]) -> None:
    """Also for groups."""
    said = run(*arguments, "--help")
    assert said.code == 0
    assert "Usage: dispatcher" in said.out
    assert "--help" in said.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_answered_and_does_not_start_the_server(tmp_path: Path, shell: str) -> None:
    """A shell asks without arguments, which means serving otherwise."""
    asked = {"COMP_WORDS": "dispatcher de", "COMP_CWORD": "1"} | {
        "_TYPER_COMPLETE_ARGS": "dispatcher de",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_WORD_TO_COMPLETE": "de",
    }
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-m", "dispatcher"],
        cwd=tmp_path,
        env=os.environ | asked | {"_DISPATCHER_COMPLETE": f"complete_{shell}", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "dead" in result.stdout
    assert list(tmp_path.iterdir()) == []

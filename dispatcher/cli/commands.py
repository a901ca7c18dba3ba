"""Every command there is, as a table: what it is called, and where its function stands.

A function's module is loaded when its command is run, so that a command waits for nothing that only
others need. A new command is a line here; its options and its help are those of its function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Leaf:
    """One command. `at` is its module below `dispatcher.cli`, and its function there.

    `examples` are shown below its options. `is_hidden`: an older name, which help does not list.
    `passes_on`: what stands after its first argument is another program's.
    """

    name: str
    at: str
    examples: tuple[str, ...] = ()
    is_hidden: bool = False
    passes_on: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Commands behind one word, with what help says of it."""

    name: str
    summary: str
    members: tuple[Leaf, ...]
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Commands behind one word, which their module puts together itself as a `typer.Typer`."""

    name: str
    at: str
    is_hidden: bool = False


Row = Leaf | Group | Family

SECTIONS: Final = (
    ("Run it", ("serve", "run", "init", "send")),
    ("See how it is", ("status", "stats", "top", "tail", "explain", "audit", "cluster")),
    ("Messages and destinations", ("messages", "destinations", "dead", "jobs")),
    ("Calls and schedules", ("calls", "promises", "channels", "schedules")),
    ("Carry, keep and repair", ("export", "import", "replay", "backup", "restore", "log")),
    ("Set up", ("config", "keys", "notify", "login", "logout", "version")),
)
"""How help groups what `dispatcher` itself has, in the order of need: titles, and names of rows."""
DEAD: Final = Group(
    "dead",
    "Look at dead letters, send them again, or throw them away.",
    (
        Leaf("list", "dead:list_", ("dispatcher dead list --status 404 --older-than 2d",)),
        Leaf(
            "show",
            "dead:show",
            (
                "dispatcher dead show 0000018f3c5a7e2b9d4c6f8a1b2c",
                "dispatcher dead show 0000018f3c5a7e2b9d4c6f8a1b2c --body > body.json",
                "dispatcher dead show 0000018f3c5a7e2b9d4c6f8a1b2c --curl --reveal | sh",
            ),
        ),
        Leaf("groups", "dead:groups"),
        Leaf(
            "redrive",
            "dead:redrive",
            (
                "dispatcher dead redrive 0000018f3c5a7e2b9d4c6f8a1b2c",
                "dispatcher dead redrive --destination https://example.com --error timeout "
                "--rate 50",
                "dispatcher dead list --json --limit 0 | dispatcher dead redrive -",
                "dispatcher dead redrive --all --dry-run",
                "dispatcher dead redrive 0000018f3c5a7e2b9d4c6f8a1b2c --to https://new.example "
                "--header 'X-Version: 2' --body-file body.json",
            ),
        ),
        Leaf(
            "purge",
            "dead:purge",
            (
                "dispatcher dead purge --status 410 --older-than 1w",
                "dispatcher dead purge --all --yes",
            ),
        ),
    ),
)
MESSAGES: Final = Group(
    "messages",
    "Look at messages that wait, cancel them, move them, or try them now.",
    (
        Leaf(
            "list",
            "waiting:list_",
            (
                "dispatcher messages list --destination https://example.com --state scheduled",
                "dispatcher messages list --older-than 1h --watch",
            ),
        ),
        Leaf("show", "waiting:show", ("dispatcher messages show 0000018f3c5a7e2b9d4c6f8a1b2c",)),
        Leaf(
            "body",
            "waiting:body",
            ("dispatcher messages body 0000018f3c5a7e2b9d4c6f8a1b2c > body.json",),
        ),
        Leaf(
            "cancel",
            "waiting:cancel",
            (
                "dispatcher messages cancel --label nightly --dry-run",
                "dispatcher messages cancel --destination https://example.com --older-than 1d",
                "dispatcher messages list --json --limit 0 | dispatcher messages cancel - --yes",
            ),
        ),
        Leaf(
            "dead-letter",
            "waiting:dead_letter",
            ("dispatcher messages dead-letter --destination https://example.com --dry-run",),
        ),
        Leaf(
            "redirect",
            "waiting:redirect",
            (
                "dispatcher messages redirect 0000018f3c5a7e2b9d4c6f8a1b2c --to "
                "https://new.example",
                "dispatcher messages redirect --destination https://old.example --to "
                "https://new.example --dry-run",
            ),
        ),
        Leaf(
            "retry",
            "waiting:retry",
            (
                "dispatcher messages retry 0000018f3c5a7e2b9d4c6f8a1b2c",
                "dispatcher messages retry --destination https://example.com",
            ),
        ),
    ),
)
DESTINATIONS: Final = Group(
    "destinations",
    "Look at destinations, hold and resume them, or try them now.",
    (
        Leaf(
            "list",
            "destinations:list_",
            ("dispatcher destinations list --state failing --watch",),
        ),
        Leaf("hold", "destinations:hold", ("dispatcher destinations hold https://example.com",)),
        Leaf("resume", "destinations:resume"),
        Leaf(
            "retry",
            "destinations:retry",
            ("dispatcher destinations retry https://example.com",),
        ),
    ),
)
JOBS: Final = Group(
    "jobs",
    "Look at what the server does that takes long, pace and cancel it.",
    (
        Leaf("list", "jobs:list_", ("dispatcher jobs list --state running",)),
        Leaf("show", "jobs:show"),
        Leaf("watch", "jobs:watch"),
        Leaf("rate", "jobs:rate", ("dispatcher jobs rate 5e0f3a91 100",)),
        Leaf("cancel", "jobs:cancel"),
    ),
)
CALLS: Final = Group(
    "calls",
    "Look at calls of functions, and end them.",
    (
        Leaf("list", "calls:list_", ("dispatcher calls list --state suspended --roots",)),
        Leaf("show", "calls:show", ("dispatcher calls show 0000018f3c5a800000019f8a1b2c",)),
        Leaf(
            "cancel",
            "calls:cancel",
            (
                "dispatcher calls cancel 0000018f3c5a800000019f8a1b2c",
                "dispatcher calls list --function import_all --json --limit 0 | jq -r .id | "
                "xargs dispatcher calls cancel --kill",
            ),
        ),
        Leaf("tail", "calls_tail:tail", ("dispatcher calls tail --function charge",)),
    ),
)
SCHEDULES: Final = Group(
    "schedules",
    "Make calls and messages at their times, and look at that.",
    (
        Leaf("list", "schedules:list_"),
        Leaf("show", "schedules:show"),
        Leaf(
            "put",
            "schedules:put",
            (
                "dispatcher schedules put nightly --cron '30 2 * * *' --timezone Europe/Berlin "
                "--endpoint https://app.example --function clean_up",
                "dispatcher schedules put reports --cron '0 9 * * MON' --endpoint "
                "https://app.example --function report --input '{\"days\": 7}' --overlap skip",
            ),
        ),
        Leaf("delete", "schedules:delete"),
        Leaf("run", "schedules:run"),
        Leaf("pause", "schedules:pause"),
        Leaf("resume", "schedules:resume"),
    ),
)
PROMISES: Final = Group(
    "promises",
    "Complete promises that calls wait for.",
    (
        Leaf(
            "resolve",
            "outside:resolve",
            (
                "dispatcher promises resolve order-7 --value '{\"paid\": true}'",
                "dispatcher promises resolve order-7 --error 'The card was refused.' "
                "--error-type Refused",
                "dispatcher promises resolve order-7 --application shop",
            ),
        ),
    ),
)
CHANNELS: Final = Group(
    "channels",
    "Send values to calls that wait at a channel.",
    (Leaf("send", "outside:send", ("dispatcher channels send orders --value 7",)),),
)
CLUSTER: Final = Group(
    "cluster",
    "Look at who does the work, and who has which partition.",
    (Leaf("status", "cluster:status", ("dispatcher cluster status --watch",)),),
)
ROWS: Final[tuple[Row, ...]] = (
    Leaf("serve", "served:serve"),
    Leaf(
        "run",
        "local.run:run",
        (
            "dispatcher run -- python app.py",
            "dispatcher run --session shop --reload -- python app.py",
            "dispatcher run --endpoint 127.0.0.1:8000 -- uvicorn app:web --port 8000",
        ),
        passes_on=True,
    ),
    Leaf("init", "local.init:init", ("dispatcher init hello",)),
    Leaf("version", "version:version"),
    Leaf("login", "login:login", ("dispatcher login https://dispatcher.example.com",)),
    Leaf("logout", "login:logout"),
    Leaf(
        "send",
        "send:send",
        (
            "dispatcher send https://example.com/hooks -d '{\"a\": 1}' -H 'Content-Type: "
            "application/json'",
            "dispatcher send example.com/upload -X PUT -d @photo.jpg --timeout 60000 --wait",
            "make-report | dispatcher send example.com/reports -d -",
        ),
    ),
    Leaf("status", "status:status", ("dispatcher status || notify-send 'Dispatcher is not well'",)),
    Leaf("stats", "stats:stats", ("dispatcher stats --watch",)),
    Leaf("backup", "backup:backup", ("dispatcher backup /mnt/backups/2026-01-31",)),
    Leaf("restore", "backup:restore", ("dispatcher restore /mnt/backups/2026-01-31",)),
    Leaf(
        "top",
        "top.command:top",
        ("dispatcher top", "dispatcher top --interval 5 --json >> figures.jsonl"),
    ),
    Leaf(
        "tail",
        "tail:tail",
        (
            "dispatcher tail --kind dead",
            "dispatcher tail --destination https://example.com --json | jq .status",
        ),
    ),
    Leaf("explain", "messages:explain"),
    # Older names of what stands under `messages` and `destinations`.
    Leaf("message", "messages:message", is_hidden=True),
    Leaf("cancel", "messages:cancel", is_hidden=True),
    Leaf("hold", "destinations:hold", is_hidden=True),
    Leaf("pause", "destinations:hold", is_hidden=True),
    Leaf("resume", "destinations:resume", is_hidden=True),
    Leaf(
        "audit",
        "audit:audit",
        ("dispatcher audit --since 1d", "dispatcher audit --action purged --json"),
    ),
    Leaf(
        "export",
        "carrying.commands:export",
        (
            "dispatcher export everything.ndjson",
            "dispatcher export --state dead --destination https://example.com - | gzip > dead.gz",
        ),
    ),
    Leaf(
        "import",
        "carrying.commands:import_",
        (
            "dispatcher import everything.ndjson",
            "dispatcher import old/transaction.log",
            "dispatcher import everything.ndjson --from-line 5001",
        ),
    ),
    Leaf(
        "replay",
        "replay:replay",
        (
            "dispatcher replay --since 2h --dry-run",
            "dispatcher replay --since 2026-01-31T12:00:00Z --until 2026-01-31T13:00:00Z "
            "--destination https://example.com --rate 50/s",
            "dispatcher replay --since 1d --to https://new.example.com",
        ),
    ),
    MESSAGES,
    DESTINATIONS,
    DEAD,
    JOBS,
    CALLS,
    CLUSTER,
    SCHEDULES,
    PROMISES,
    CHANNELS,
    Family("config", "config:app"),
    Family("keys", "keys:app"),
    Family("log", "log:app"),
    Family("notify", "notify:app"),
)

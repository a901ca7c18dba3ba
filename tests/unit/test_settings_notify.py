"""[[notify]] tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dispatcher.core.rate import Rate
from dispatcher.core.rules.notify import Format, Kind
from dispatcher.core.rules.table import Rules
from dispatcher.errors import ConfigError
from dispatcher.settings.rules import described, load, notify

ROOT = Path(__file__).parents[2]

URL = "https://hooks.example.com/services/T0/B0/secret"


def read(tmp_path: Path, text: str, **environ: str) -> Rules:
    """The rules of a file."""
    path = tmp_path / "d.toml"
    path.write_text(text)
    return load({"DISPATCHER_CONFIG": str(path), **environ})


def test_table_is_read_with_its_defaults(tmp_path: Path) -> None:
    """Two keys are enough."""
    (one,) = read(tmp_path, f'[[notify]]\non = "dead_letter"\nurl = "{URL}"\n').notify
    assert (one.on, one.format, one.at_most) == (
        (Kind.DEAD_LETTER,),
        Format.JSON,
        Rate(1, 600_000_000),
    )
    assert (one.match, one.for_ms, one.below.part, one.headers) == (None, 600_000, 0.1, ())


def test_every_key_is_read_and_no_secret_is_shown(tmp_path: Path) -> None:
    """Of a URL in the file no more than where it leads."""
    rules = read(
        tmp_path,
        f"""
        [[notify]]
        on = ["disk_low", "destination_failing", "call_failed", "letters_dropped"]
        url = "{URL}"
        format = "slack"
        at_most = "5/1h"
        destination = "*.example.com"
        for = "90s"
        below = "5GiB"
        headers = {{Authorization = "env:TOKEN"}}

        [[notify]]
        on = ["dead_letter"]
        url = "env:HOOK"
        """,
        TOKEN="hush",
        HOOK=URL,
    )
    first, second = rules.notify
    assert (first.for_ms, first.below.size_bytes, first.at_most.count) == (90_000, 5 << 30, 5)
    assert second.url.value == URL.encode()
    shown = described(rules)["notify"]
    assert shown == [
        {
            "on": ["call_failed", "letters_dropped", "destination_failing", "disk_low"],
            "url": "https://hooks.example.com/…",
            "format": "slack",
            "at_most": "5/h",
            "destination": "*.example.com",
            "for": "1m30s",
            "below": "5GiB",
            "headers": {"Authorization": "env:TOKEN"},
        },
        {"on": ["dead_letter"], "url": "env:HOOK", "format": "json", "at_most": "1/10m"},
    ]
    assert "secret" not in repr(rules.notify)
    assert "hush" not in repr(rules.notify)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'url = "{URL}"', "on is missing"),
        ('on = "dead_letter"', "url is missing"),
        (f'on = "everything"\nurl = "{URL}"', "on=everything: expected one or more of dead_letter"),
        (f'on = []\nurl = "{URL}"', "expected one or more of"),
        ('on = "dead_letter"\nurl = "hooks.example.com/secret"', "url: expected a whole URL"),
        ('on = "dead_letter"\nurl = "env:NOT_SET"', "NOT_SET"),
        (f'on = "dead_letter"\nurl = "{URL}"\nformat = "xml"', "expected one of slack, json"),
        (f'on = "dead_letter"\nurl = "{URL}"\nat_most = "often"', "at_most=often: expected a"),
        (f'on = "dead_letter"\nurl = "{URL}"\nat_most = "1001/1m"', "a number from 1 to 1000, a"),
        (f'on = "dead_letter"\nurl = "{URL}"\nfor = "5m"', 'expected "destination_failing" in on'),
        (f'on = "disk_low"\nurl = "{URL}"\nbelow = "0%"', "below=0%: expected a part of the disk"),
        (f'on = "dead_letter"\nurl = "{URL}"\nulr = 1', "did you mean url?"),
        (f'on = "dead_letter"\nurl = "{URL}"\ndestination = "a b"', "destination=a b: expected"),
        (f'on = "dead_letter"\nurl = "{URL}"\nheaders = {{Host = "x"}}', "Host is written by"),
    ],
)
def test_mistake_is_named_with_its_table(tmp_path: Path, text: str, expected: str) -> None:
    """And what is expected, without the URL."""
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, f"[[notify]]\n{text}\n")
    assert str(refused.value).startswith("notify 1: ")
    assert expected in str(refused.value)
    assert "secret" not in str(refused.value)


def test_page_has_every_key_and_every_word_and_its_example_is_right(tmp_path: Path) -> None:
    """docs/notify.md."""
    text = (ROOT / "docs" / "notify.md").read_text("utf-8")
    keys = set(re.findall(r"^\| `([a-z_]+)` \| .* \| .* \| .* \|$", text, re.M))
    assert keys == set(notify.KEYS)
    words = re.findall(r"^\| `([a-z_]+)` \| [^|]+ \|$", text.partition("## ")[0], re.M)
    assert words == [kind.value for kind in notify.KINDS]
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.S)
    token = tmp_path / "token"
    token.write_text("x")
    example = example.replace("/etc/dispatcher/oncall-token", str(token))
    assert len(read(tmp_path, example, SLACK_URL=URL).notify) == 2

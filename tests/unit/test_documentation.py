"""What the documentation says is what the code has."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

import dispatcher
from dispatcher.api.audit import Action
from dispatcher.api.letter_models import Attempt, Group, Letter
from dispatcher.api.message_models import DestinationState, FullMessage, MessageExplanation
from dispatcher.api.stats_models import Lane
from dispatcher.cli.send import flag
from dispatcher.core.option_reading import read_options
from dispatcher.core.options import FLOW, FLOW_KEY, HEADERS, OPTIONS, TIMEOUT, Option, written
from dispatcher.core.outcome import Failure
from dispatcher.core.verdict import DeadReason
from dispatcher.errors import ConfigError, DispatcherError, LogCorrupt, LogLocked, PortTaken
from dispatcher.protocol.connect import Code
from dispatcher.settings import Settings
from dispatcher.settings.sources import SECOND_NAMES, Names
from dispatcher.telemetry.events import EVENTS

ROOT = Path(__file__).parents[2]


def read(path: str) -> str:
    """The text of a file of the project."""
    return (ROOT / path).read_text(encoding="utf-8")


def test_readme_and_ci_run_the_tests_with_the_same_command() -> None:
    """What CI shows to work is what a developer is told to type."""
    commands = re.findall(r"^python3 -m venv .*$", read("README.md"), re.MULTILINE)
    assert len(commands) == 2
    assert commands[1] in read(".ci/run")


def test_every_setting_is_documented_with_its_default() -> None:
    """docs/configuration.md has a row for each."""
    rows = dict(re.findall(r"^\| `([A-Z_]+)`.*\| (.*) \|$", read("docs/configuration.md"), re.M))
    assert set(rows) == Names.of(Settings).all
    for name, value in Settings.load({}).describe().items():
        shown = {"LOG_FORMAT": "json", "WORKER_SLOW": 10_000}.get(name, value)
        text = str(shown).lower() if isinstance(shown, bool) else str(shown)
        assert f"`{text}`" in rows[name] or (value in ([], "") and rows[name].startswith("empty"))
    assert all(f"`{name}`" in read("docs/configuration.md") for name in SECOND_NAMES)


def test_every_header_of_ours_is_documented_as_it_is() -> None:
    """docs/configuration.md has the table in the order of the code."""
    rows = re.findall(
        r"^\| `(X-Dispatcher-.*?)` \| (.*) \| (.*) \|$", read("docs/configuration.md"), re.M
    )
    assert rows == [(header.title, header.means, header.takes) for header in HEADERS]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_every_option_is_documented_with_its_flag_an_example_and_what_a_redrive_keeps(
    option: Option,
) -> None:
    """docs/options.md; `test_documented_commands.py` runs the examples."""
    page = read("docs/options.md")
    values = ("90s", "7", "2027-01-31T12:00:00Z", "https://a.example/told", "rate=10/1m", "abc")
    value = next(one for one in values if option.read(one) is not None)
    stays = option is TIMEOUT  # it is stored with the message itself
    if not stays:
        given = [(option, value)]
        if option is FLOW:
            given.append((FLOW_KEY, "f"))
        terms = read_options(given, 0).terms(0).of_redriven()
        stays = option.key in written(terms)
    then = "kept" if stays else "dropped"
    assert f"\n| `{option.title}` | `{flag(option)}` | {then} |\n" in page, "a row of the table"
    examples = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert any(f"-H '{option.title}: " in one for one in examples), "an example with curl"


def test_every_event_is_documented_as_it_is() -> None:
    """docs/events.md has the list in the order of the code."""
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| (\w+) \| (.*?) \| (.*) \|$", read("docs/events.md"), re.M
    )
    expected = [
        (
            event.name,
            event.level,
            ", ".join(f"`{_shown(field)}`" for field in event.fields),
            event.meaning,
        )
        for event in EVENTS
    ]
    assert rows == expected


def test_every_action_of_an_operator_has_an_event() -> None:
    """What is done is told under a name of the list."""
    names = {event.name for event in EVENTS}
    assert {f"operator.{action.value}" for action in Action} <= names


def _shown(field: str) -> str:
    return "exception" if field == "exc_info" else field


def _slugs_in(pattern: str) -> set[str]:
    """Slugs of errors in the source."""
    sources = (ROOT / "dispatcher").rglob("*.py")
    return {slug for path in sources for slug in re.findall(pattern, path.read_text("utf-8"))}


def test_every_slug_is_documented() -> None:
    """docs/errors.md has a row for each, and none that is gone."""
    text = read("docs/errors.md")
    documented = {
        slug
        for first in re.findall(r"^\| (.*?) \|", text, re.M)
        for slug in re.findall(
            r"`([a-z]+_[a-z_]+|timeout|expired|operator|rejected|recovering|starting|overloaded|moved)`",
            first,
        )
    }
    in_code = (
        _slugs_in(r'\bRefusal\(\s*[0-9]{3},\s*"([a-z_]+)"')
        | _slugs_in(r'\bApiError\(\s*[0-9]{3},\s*"([a-z_]+)"')
        | {failure.value for failure in Failure}
        | {reason.value for reason in DeadReason}
        | {option.slug for option in OPTIONS}
        | {"recovering", "starting"}
    )
    assert in_code - documented == set()
    assert documented - in_code - {code.word for code in Code} == set()


@pytest.mark.parametrize("error", [ConfigError, PortTaken, LogLocked, LogCorrupt, DispatcherError])
def test_every_exit_code_is_documented(error: type[DispatcherError]) -> None:
    """docs/errors.md has a row for each, with its slug."""
    row = re.search(rf"^\| {error.exit_code} \| (.*?) \|", read("docs/errors.md"), re.M)
    assert row
    assert f"`{error.slug}`" in row[1]


@pytest.mark.parametrize(
    "model",
    [Lane, DestinationState, FullMessage, MessageExplanation, Letter, Group, Attempt],
)
def test_every_field_of_an_answer_is_documented(model: type[BaseModel]) -> None:
    """docs/api.md lists those that are sent, all of them and no other."""
    listed = re.findall(r"\{([a-z0-9_]+(?:,\s+[a-z0-9_]+)+)\}", read("docs/api.md"))
    assert set(model.model_fields) in [set(re.split(r",\s+", one)) for one in listed]


def test_version_is_in_the_changelog() -> None:
    """Whoever installs a version finds what is new in it."""
    assert f"\n## {dispatcher.__version__}\n" in read("CHANGELOG.md")


def test_every_metric_is_documented() -> None:
    """docs/operations.md has each of them in its table, and none that is gone."""
    table = read("docs/operations.md").partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`dispatcher_.*?) \|", table, re.M)
    documented = [name for row in rows for name in re.findall(r"`(dispatcher_[a-z_]+)", row)]
    sources = (ROOT / "dispatcher").rglob("*.py")
    in_code = {
        name
        for path in sources
        for name in re.findall(r'"(dispatcher_[a-z_]+)"', path.read_text("utf-8"))
    }
    assert sorted(documented) == sorted(in_code)


def test_every_alert_says_what_to_do() -> None:
    """docs/operations.md has a section for each, in the order of the rules."""
    section = read("docs/operations.md").partition("## Alerts")[2].partition("\n## ")[0]
    alerts = re.findall(r"- alert: (\w+)", read("config/prometheus/alerts.yml"))
    assert re.findall(r"^### (\w+)$", section, re.M) == alerts


PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "dispatcher/txlog/FORMAT.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]


def anchors(path: str) -> set[str]:
    """What headings of a page can be linked by, as GitHub makes it."""
    prose = re.sub(r"^```.*?^```$", "", read(path), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def links(path: str) -> list[tuple[str, str]]:
    """The relative links of a page: the file from the root, the page itself if empty, and the
    anchor."""
    found = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", read(path))
    return [(target and str(Path(path).parent / target), anchor) for target, anchor in found]


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_to_files(path: str) -> None:
    """A relative link names a file of the project, and a heading that is there."""
    for target, anchor in links(path):
        assert (ROOT / target).exists(), target
        assert not anchor or anchor in anchors(target or path), (target, anchor)


def test_code_names_only_documents_that_are_here() -> None:
    """What a reader is sent to has to be there for them."""
    for folder in ("dispatcher", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            assert not re.search(r"\b[Tt]he contract\b|\"\"\"Section [0-9]", text), path
            for page in re.findall(r"\bdocs/[a-z]+\.md\b", text):
                assert (ROOT / page).exists(), (path, page)


def test_every_page_is_linked() -> None:
    """Nobody finds a page that no other one names."""
    linked = {os.path.normpath(target) for path in PAGES for target, _ in links(path)}
    assert set(PAGES) - linked == {"README.md"}


def test_people_read_of_destinations_and_not_of_lanes() -> None:
    """One word for one thing, in help and on pages. Fields of the API keep their names, and what is
    inside has its own."""
    shown = [one for path in ROOT.glob("dispatcher/api/dashboard/*.js") for one in _texts(path)]
    shown += re.findall(r">([^<>]+)<", read("dispatcher/api/dashboard/index.html"))
    shown += [one for path in ROOT.glob("dispatcher/cli/**/*.py") for one in _texts(path)]
    words = [one for one in shown if re.search(r"\blanes?\b", one, re.I) and " " in one.strip()]
    assert words == []
    assert "Lanes" not in shown


def _texts(path: Path) -> list[str]:
    """What stands between quotes on one line of a program, without what is computed in it."""
    text = re.sub(r'"""(?:.|\n)*?"""', "", path.read_text())
    text = re.sub(r"\$\{[^{}`]*(?:`[^`]*`)?[^{}`]*\}", "", text)
    found = [one for pair in re.findall(r'"([^"\n]*)"|`([^`\n]*)`', text) for one in pair if one]
    return [re.sub(r"\{[^{}]*\}", "", one) for one in found]

"""The page of live events in a browser: listening, filtering, pausing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dispatcher.testing.admin import message, message_id
from dispatcher.testing.api import ApiBench
from tests.browser.conftest import PATIENCE_MS
from tests.browser.serving import deliver

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def visit(page: Page, bench: ApiBench, query: str = "") -> Any:
    """Open the page and wait until it listens; its rows."""
    await page.goto(f"{bench.url}/#/events{query}")
    await expect(page.locator("#event-status")).to_contain_text("Listening.")
    await until(lambda: len(bench.admin.listeners) == 1, page)
    return page.locator("#event-table tbody tr")


async def until(holds: Callable[[], bool], page: Page) -> None:
    """Wait for something at the server, as long as for something on a page."""
    for _ in range(PATIENCE_MS // 50):
        if holds():
            return
        await page.wait_for_timeout(50)
    raise AssertionError("it never came to hold")


async def test_events_wait_while_paused_and_are_all_shown_afterwards(
    page: Page, api: ApiBench
) -> None:
    """What is there stands still, how many came since is said, and none of them is lost."""
    rows = await visit(page, api)
    deliver(api, range(300, 301))
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("HTTP 200 at attempt 1, 12 ms")
    await page.get_by_role("button", name="Pause").click()
    deliver(api, range(301, 304))
    await expect(page.locator("#event-status")).to_have_text(
        "Paused; 6 events came since and wait."
    )
    await expect(rows).to_have_count(2)
    await page.get_by_role("button", name="Resume").click()
    await expect(rows).to_have_count(8)
    deliver(api, range(304, 305))
    await expect(rows).to_have_count(10)


async def test_filter_looks_at_what_is_there_also_while_paused(page: Page, api: ApiBench) -> None:
    """Typing hides and brings back; it wipes nothing."""
    rows = await visit(page, api)
    api.admin.put(message(900, to="b"))
    deliver(api, range(300, 303))
    await expect(rows).to_have_count(7)
    await page.get_by_role("button", name="Pause").click()
    destination = page.locator("#events").get_by_label("Destination")
    await destination.fill("B.example")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("/hooks/900?x=%2F")
    await destination.fill("")
    await expect(rows).to_have_count(7)
    await page.locator("#events").get_by_label("Show").select_option("delivered")
    await expect(rows).to_have_count(3)
    await page.locator("#events").get_by_label("Id, label, function or path").fill(message_id(301))
    await expect(rows).to_have_count(1)
    assert page.url.endswith(f"#/events?kind=delivered&text={message_id(301)}")


async def test_filter_of_the_address_is_that_of_the_form(page: Page, api: ApiBench) -> None:
    """Lanes lead to the events of their destination that way."""
    rows = await visit(page, api, "?destination=https%3A%2F%2Fb.example")
    await expect(page.locator("#events").get_by_label("Destination")).to_have_value(
        "https://b.example"
    )
    api.admin.put(message(900, to="b"))
    api.admin.put(message(901))
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("/hooks/900?x=%2F")


async def test_events_are_bounded(page: Page, api: ApiBench) -> None:
    """Two hundred rows, however many come."""
    rows = await visit(page, api)
    await page.locator("#events").get_by_label("Show").select_option("accepted")
    deliver(api, range(300, 550))
    await expect(rows).to_have_count(200)
    await expect(rows.first).to_contain_text("/hooks/549")


async def test_attempts_that_failed_are_told_from_those_that_did_not(
    page: Page, api: ApiBench
) -> None:
    """By themselves, where something is wrong."""
    rows = await visit(page, api, "?kind=failed")
    for number, status in ((300, 200), (301, 503)):
        api.admin.emit(
            "attempted", message_id(number), "https://a.example",
            attempt=1, status=status, error=None, duration_ms=5, next_attempt_at=None,
        )  # fmt: skip
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("HTTP 503")


async def test_events_are_left_alone_when_another_section_is_shown(
    page: Page, api: ApiBench
) -> None:
    """Readers are few: a page that shows no events takes no place. That it did not listen
    meanwhile is said."""
    rows = await visit(page, api)
    deliver(api, range(300, 301))
    await expect(rows).to_have_count(2)
    await page.get_by_role("link", name="Overview").click()
    await until(lambda: not api.admin.listeners, page)
    await page.get_by_role("link", name="Live events").click()
    await expect(rows).to_have_count(3)
    await expect(rows.first).to_contain_text("not listened to")


async def test_events_are_cut_from_pieces_of_any_size(page: Page, api: ApiBench) -> None:
    """A stream arrives as the network likes."""
    await visit(page, api)
    cut = """import('/dashboard/stream.js').then(({Cutter}) => {
        const cutter = new Cutter();
        const text = ': dropped 3\\n\\nevent: dead\\ndata: {"a": "b: c"}\\n\\n' +
            ': alive\\n\\nevent: x';
        return [...text].flatMap(one => cutter.cut(one)).map(one => Object.values(one).join("|"));
    })"""
    assert await page.evaluate(cut) == ["||dropped 3", 'dead|{"a": "b: c"}|', "||alive"]


KEPT = """import('/dashboard/recent.js').then(({Recent}) => {
    const recent = new Recent(3);
    const heard = id => ({event: "dead", fields: {id, destination: "https://a.example"}});
    [1, 2].forEach(one => recent.add(heard(`${one}`)));
    recent.hold();
    [3, 4, 5, 6].forEach(one => recent.add(heard(`${one}`)));
    const held = [recent.waiting, recent.matching({}, 9).length];
    recent.resume();
    return [...held, ...recent.matching({}, 9).map(one => one.fields?.id ?? one.dropped)];
})"""


async def test_events_that_no_longer_fit_while_paused_are_counted(
    page: Page, api: ApiBench
) -> None:
    """The newest are kept, the newest first."""
    await visit(page, api)
    assert await page.evaluate(KEPT) == [4, 2, "6", "5", "4"]

"""The page of lanes in a browser: what is wrong with which, holding, resuming, filtering."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import Lately, message, message_id
from dispatcher.testing.api import ApiBench

pytestmark = pytest.mark.asyncio(loop_scope="module")

_A = "https://a.example"


async def visit(page: Page, bench: ApiBench, query: str = "") -> Any:
    """Open the page, with a filter; its rows."""
    await page.goto(f"{bench.url}/#/lanes{query}")
    return page.locator("#lane-table tbody tr")


async def test_lane_is_held_and_resumed_with_its_button(page: Page, api: ApiBench) -> None:
    """The row says how it is now, and the button keeps the focus."""
    rows = await visit(page, api)
    row = rows.filter(has_text=_A)
    await row.get_by_role("button", name=f"Hold {_A}").click()
    await expect(row).to_contain_text("held")
    assert api.admin.held == {_A}
    await expect(page.get_by_text("is held. Its messages and calls wait.")).to_be_visible()
    resume = row.get_by_role("button", name=f"Resume {_A}")
    await expect(resume).to_be_focused()
    await resume.click()
    await expect(row).to_contain_text("sending")
    assert api.admin.held == set()


async def test_lane_is_tried_at_once_with_its_button(page: Page, api: ApiBench) -> None:
    """What waited for a time is due, and what comes of it is said."""
    row = (await visit(page, api)).filter(has_text=_A)
    await row.get_by_role("button", name=f"Retry {_A} now").click()
    await expect(page.locator("#notice")).to_contain_text(f"{_A}: What waits for it is sent")
    assert api.admin.messages[message_id(2)].state is MessageState.READY


async def test_lane_says_how_it_does(page: Page, api: ApiBench) -> None:
    """Its last error, its rate, how long its attempts take and how old its oldest message is; the
    state stays on one line."""
    now_us = time.time_ns() // 1000
    api.admin.courses[_A] = Lately(
        "http_503", now_us - 120_000_000, now_us - 700_000_000, 31.4, 12.0, 4_000.0
    )
    api.admin.backing_off[_A] = now_us + 7_200_000_000
    row = (await visit(page, api)).filter(has_text=_A)
    for text in ("HTTP 503", "2 min ago", "31/s", "12 ms / 4 s", "backs off", "in 2 h", "1 of 10"):
        await expect(row).to_contain_text(text)
    state = row.locator(".one-line")
    assert await state.evaluate("one => one.getClientRects().length") == 1
    assert await state.evaluate("one => one.offsetHeight < 40")


async def test_lane_leads_to_its_messages_letters_and_events(page: Page, api: ApiBench) -> None:
    """Each narrowed to its destination."""
    rows = await visit(page, api)
    row = rows.filter(has_text=_A)
    for name, section in (
        ("messages", "messages"), ("dead letters", "dead-letters/list"), ("events", "events"),
    ):  # fmt: skip
        link = row.get_by_role("link", name=name)
        address = f"#/{section}?destination=https%3A%2F%2Fa.example"
        await expect(link).to_have_attribute("href", address)


async def test_lane_of_calls_stands_beside_that_of_messages(page: Page, api: ApiBench) -> None:
    """Each has a row of its own, also of one destination."""
    assert api.functions is not None
    api.functions.applications = [_A, "bridge://laptop/shop"]
    rows = await visit(page, api)
    await expect(rows.filter(has_text=_A)).to_have_count(2)
    session = rows.filter(has_text="bridge://laptop/shop")
    await expect(session).to_be_visible()
    await expect(session.get_by_role("button")).to_have_count(0)
    await page.locator("#lanes").get_by_label("Kind").select_option("call")
    await expect(rows).to_have_count(2)


async def test_lane_whose_breaker_is_open_is_not_said_to_be_sending(
    page: Page, api: ApiBench
) -> None:
    """Also when it backs off no longer and waits for a message to try; as the command line says."""
    api.admin.backing_off[_A] = 0
    row = (await visit(page, api)).filter(has_text=_A)
    await expect(row).to_contain_text("probing")
    await expect(row).not_to_contain_text("sending")


async def test_lanes_are_filtered_by_the_server_and_sorted_by_their_columns(
    page: Page, api: ApiBench
) -> None:
    """Those with trouble come first, until another order is asked for; which it is, is shown."""
    for number in range(12):
        api.admin.put(message(500 + number, to=f"lane-{number:03}"))
    api.admin.backing_off["https://lane-007.example"] = 0
    rows = await visit(page, api)
    await expect(rows.first).to_contain_text("lane-007")
    await page.get_by_label("Destination contains").fill("LANE-01")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(2)
    assert page.url.endswith("#/lanes?destination=LANE-01")
    by_name = page.get_by_role("columnheader", name="Destination")
    await by_name.get_by_role("button").click()
    await expect(rows.first).to_contain_text("lane-010")
    await expect(by_name).to_have_attribute("aria-sort", "ascending")
    await by_name.get_by_role("button").click()
    await expect(rows.first).to_contain_text("lane-011")
    await page.get_by_role("link", name="Clear filter").click()
    await page.locator("#lanes").get_by_label("State").select_option("failing")
    await expect(rows).to_have_count(2)  # the application's breaker is open too


async def test_lanes_that_are_too_many_for_one_page_are_all_found_by_name(
    page: Page, api: ApiBench
) -> None:
    """First come those with most messages; the others are a link away, a page at a time."""
    for number in range(230):
        api.admin.put(message(500 + number, to=f"lane-{number:03}"))
    rows = await visit(page, api)
    await expect(rows).to_have_count(200)
    told = "The 200 destinations with most messages, of 232."
    await expect(page.locator("#lane-note")).to_contain_text(told)
    await page.get_by_role("link", name="All of them by name").click()
    await expect(page.locator("#lane-note")).to_have_text("232 destinations by name.")
    await page.get_by_role("link", name="Next page").click()
    await expect(rows).to_have_count(32)


async def test_lane_says_why_when_it_cannot_be_held(page: Page, api: ApiBench) -> None:
    """What the server refuses it says in words."""
    api.admin.refusal = Refusal(503, "disk_full", "There is no space for the log. Make space.")
    await visit(page, api)
    await page.get_by_role("button", name=f"Hold {_A}").click()
    await expect(page.locator("#notice")).to_contain_text("Make space.")

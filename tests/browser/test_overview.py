"""The overview in a browser: what is wrong, what there is, how the last hour was."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dispatcher.node.problems import Facts, problems
from dispatcher.testing.api import ApiBench
from dispatcher.testing.outlook import Variant, overview, series

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def visit(page: Page, bench: ApiBench, variant: Variant = Variant.BUSY) -> None:
    """Open the page of a server that does this way."""
    become(bench, variant)
    await page.goto(bench.url)


def become(bench: ApiBench, variant: Variant) -> None:
    """Let the server do this way from now on. Its clock stands still: the past stays where it is in
    charts, however long a test takes."""
    now_us = time.time_ns() // 1000
    bench.outlook.now_us = lambda: now_us
    bench.outlook.shown = overview(variant, now_us)
    bench.outlook.series = series(variant)


def card(page: Page, name: str) -> Any:
    """The card with a name."""
    return page.locator("#figures > *").filter(has_text=name)


async def test_problems_come_first_and_lead_to_where_one_acts(page: Page, api: ApiBench) -> None:
    """A sentence each, errors before warnings; the sections say how many of them concern them."""
    await visit(page, api, Variant.BROKEN)
    problems = page.get_by_role("region", name="What is wrong").get_by_role("listitem")
    await expect(problems.first).to_contain_text("Error")
    words = [text.split("\n")[0] for text in await problems.all_inner_texts()]
    assert words == sorted(words)
    menu = page.get_by_role("navigation", name="Sections")
    await expect(menu.get_by_role("link", name="Destinations 7 failing")).to_be_visible()
    await expect(menu.get_by_role("link", name="Dead letters 250 kept")).to_be_visible()
    name = "Look at the destination: https://billing.example"
    await problems.get_by_role("link", name=name).click()
    assert page.url.endswith("#/lanes?destination=https%3A%2F%2Fbilling.example")
    become(api, Variant.EMPTY)
    await menu.get_by_role("link", name="Overview").click()
    await expect(page.get_by_text("Nothing is wrong.")).to_be_visible()
    await expect(menu.get_by_role("link", name="Destinations", exact=True)).to_be_visible()


async def test_cards_say_how_much_and_lead_to_it(page: Page, api: ApiBench) -> None:
    """Each number is a link to what it counts."""
    await visit(page, api)
    for name, number, detail, address in (
        ("Waiting", "75", "oldest", "#/messages"),
        ("Failing destinations", "0", "of 3", "#/lanes"),
        ("Dead letters", "250", "last 2 min ago", "#/dead-letters"),
        ("Function calls", "20", "14 suspended", "#/calls"),
    ):
        await expect(card(page, name).locator(".big")).to_have_text(number)
        await expect(card(page, name)).to_contain_text(detail)
        await expect(card(page, name)).to_have_attribute("href", address)
    await expect(card(page, "Free disk")).to_contain_text("31 GiB")
    await expect(page.locator("#last-dead li").first).to_contain_text("HTTP 404")
    become(api, Variant.BROKEN)
    failing = card(page, "Failing destinations")
    await expect(failing).to_have_attribute("href", "#/lanes?state=failing")


async def test_page_says_which_server_it_is_of(page: Page, api: ApiBench) -> None:
    """Its name and version stand on top of every section."""
    await visit(page, api)
    shown = api.outlook.shown
    told = f"{shown.instance} · {shown.version}"
    await expect(page.locator("#instance")).to_have_text(told)


async def test_charts_are_full_at_once_and_show_what_was_when_they_are_pointed_at(
    page: Page, api: ApiBench
) -> None:
    """An hour of the server's memory: with the mouse, a finger or the arrow keys values are read
    from it, and all charts show the same instant."""
    await visit(page, api)
    rates = page.get_by_role("slider", name="Messages a second")
    line = rates.locator("polyline").first
    assert (await line.get_attribute("points") or "").count(",") == 360
    await expect(page.locator(".readout:visible")).to_have_count(0)
    await rates.hover(position={"x": 200, "y": 60})
    await expect(page.locator(".readout:visible")).to_contain_text("min ago")
    await expect(page.locator(".readout:visible")).to_contain_text("delivered")
    await expect(page.locator("figcaption").filter(has_text="min ago")).to_have_count(7)
    await page.mouse.move(0, 0)
    await expect(page.locator("figcaption").filter(has_text="last hour")).to_have_count(7)
    await rates.focus()
    await expect(rates).to_have_attribute("aria-valuenow", "359")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("PageDown")
    await expect(rates).to_have_attribute("aria-valuenow", "328")
    text = await rates.get_attribute("aria-valuetext")
    delivered = api.outlook.series["delivered"][328]
    assert delivered is not None
    assert f"delivered {round(delivered / 10)}/s" in (text or "")
    await page.keyboard.press("Escape")
    await expect(page.locator(".readout:visible")).to_have_count(0)


async def test_charts_of_a_server_that_has_just_begun_show_its_minutes(
    page: Page, api: ApiBench
) -> None:
    """Ten of them at least: at the end of an hour's axis nobody could see anything."""
    become(api, Variant.BUSY)
    api.outlook.series = {
        name: [None] * 330 + list(values[330:]) for name, values in api.outlook.series.items()
    }
    await page.goto(api.url)
    rates = page.get_by_role("slider", name="Messages a second")
    await expect(rates).to_have_attribute("aria-valuemax", "59")
    await expect(page.locator("figcaption").filter(has_text="last 10 min")).to_have_count(7)
    points = await rates.locator("polyline").first.get_attribute("points") or ""
    assert points.count(",") == 30
    await expect(rates.locator(".chart text").filter(has_text=":")).not_to_have_count(0)


async def test_free_space_stands_out_when_there_is_none_for_the_log(
    page: Page, api: ApiBench
) -> None:
    """However much is said to be free: what is kept for the end is not for messages."""
    become(api, Variant.EMPTY)
    full = Facts(api.outlook.shown.started_at_us, not_ready=("disk_full", "There is no space."))
    api.outlook.shown = replace(api.outlook.shown, problems=problems(full))
    await page.goto(api.url)
    await expect(card(page, "Free disk")).to_have_class(re.compile(r"\bbad\b"))


async def test_times_stand_on_a_logarithmic_scale_where_they_differ_by_decades(
    page: Page, api: ApiBench
) -> None:
    """A median of ten milliseconds is seen below a percentile of seconds; that it is so is said."""
    await visit(page, api, Variant.BROKEN)
    chart = page.locator("figure").filter(has_text="Time of an attempt")
    await expect(chart).to_contain_text("log scale")
    await expect(chart.locator(".chart")).to_contain_text("10 s")
    gap = page.get_by_role("slider", name="Messages a second").locator("polyline.first")
    await expect(gap).to_have_count(2)  # it was away in between


async def test_health_says_why_messages_are_not_accepted(page: Page, api: ApiBench) -> None:
    """With what to do, as /readyz says it."""
    api.reason = "disk_full"
    await visit(page, api)
    await expect(page.locator("#health-text")).to_contain_text("Make space")
    api.reason = None
    await expect(page.locator("#health-text")).to_have_text("Ready")


async def test_overview_says_so_when_the_server_is_gone(page: Page, api: ApiBench) -> None:
    """Nothing old is shown as if it were now."""
    await visit(page, api)
    await expect(card(page, "Waiting").locator(".big")).to_have_text("75")
    await api.server.stop()
    await expect(page.locator("#health-text")).to_contain_text("can't be reached")
    await expect(card(page, "Waiting").locator(".big")).to_have_text("–")


async def test_page_asks_for_nothing_while_its_tab_is_hidden(page: Page, api: ApiBench) -> None:
    """And goes on when it is seen again."""
    await page.clock.install()
    await visit(page, api)
    await expect(card(page, "Waiting").locator(".big")).to_have_text("75")
    await hide(page, is_hidden=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.clock.run_for(20_000)
    assert asked == []
    await hide(page, is_hidden=False)
    async with page.expect_response("**/v1/overview"):
        await page.clock.run_for(100)


async def hide(page: Page, *, is_hidden: bool) -> None:
    """Let the page believe that its tab is behind another, or in front."""
    await page.evaluate(
        """isHidden => {
            Object.defineProperty(document, "hidden", {value: isHidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


async def test_keys_lead_to_sections_and_filters_unless_they_are_turned_off(
    page: Page, api: ApiBench
) -> None:
    """None of them does anything while somebody types."""
    await visit(page, api)
    await expect(page.locator("#health-text")).to_have_text("Ready")
    await page.keyboard.press("g")
    await page.keyboard.press("l")
    await expect(page.get_by_role("heading", name="Destinations")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Destination contains")).to_be_focused()
    await page.keyboard.type("g/m?")
    await expect(page.get_by_label("Destination contains")).to_have_value("g/m?")
    await page.get_by_role("heading", name="Destinations").focus()
    await page.keyboard.press("?")
    await page.get_by_role("button", name="Turn them off").click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await page.get_by_role("heading", name="Destinations").focus()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Destination contains")).not_to_be_focused()


SCALES: list[tuple[str, list[float], bool]] = [
    ("[0.3], {least: 1}", [0, 0.2, 0.4, 0.6, 0.8, 1], False),
    ("[158], {least: 1}", [0, 50, 100, 150, 200], False),
    ("[3, 250], {least: 1}", [0, 50, 100, 150, 200, 250], False),
    ("[0.01, 0.06], {least: 0.001, mayBeLog: true}", [0, 0.02, 0.04, 0.06], False),
    ("[0.01, 4], {least: 0.001, mayBeLog: true}", [0.01, 0.1, 1, 10], True),
    ("[2097152], {least: 1, isBinary: true}", [0, 524288, 1048576, 1572864, 2097152], False),
]


async def test_scales_have_round_numbers(page: Page, api: ApiBench) -> None:
    """From 0, or decades where two of them lie between the values."""
    await visit(page, api)
    for given, ticks, is_log in SCALES:
        call = f"import('/dashboard/scale.js').then(one => one.scaleOf({given}))"
        found = await page.evaluate(f"{call}.then(({{ticks, isLog}}) => [ticks, isLog])")
        assert found == [pytest.approx(ticks), is_log], given

"""Charts, menu and filters on a phone and on a tablet, under a finger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, CDPSession, Locator, Page, expect

from dispatcher.testing.api import ApiBench
from dispatcher.testing.outlook import Variant
from tests.browser.test_overview import visit

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LEFT, _RIGHT, _LAST = 56, 6, 359
"""Of a chart: cells of its frame that hold no value, at the left and the right, and the number of
its last value."""
_LINES = "new Set([...document.querySelectorAll('#sections li')].map(one => one.offsetTop)).size"


@pytest_asyncio.fixture(loop_scope="module")
async def phone(browser: Browser) -> AsyncIterator[Page]:
    """A page on a screen that is touched."""
    context = await browser.new_context(viewport={"width": 412, "height": 900}, has_touch=True)
    page = await context.new_page()
    yield page
    await context.close()


class Finger:
    """One finger on a page."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session

    async def down(self, x: float, y: float) -> None:
        """Put it on the screen."""
        await self._send("touchStart", [{"x": x, "y": y}])

    async def move(self, x: float, y: float) -> None:
        """Draw it over the screen."""
        await self._send("touchMove", [{"x": x, "y": y}])

    async def up(self) -> None:
        """Take it away."""
        await self._send("touchEnd", [])

    async def _send(self, kind: str, points: list[Any]) -> None:
        touch = {"type": kind, "touchPoints": points}
        await self._session.send("Input.dispatchTouchEvent", touch)


async def finger_on(page: Page) -> Finger:
    """A finger that is not down yet."""
    return Finger(await page.context.new_cdp_session(page))


async def place_of(chart: Locator, share: float) -> tuple[float, float, int]:
    """Where on the screen a part of the way along a chart's time is, and the number of the value
    there."""
    await chart.scroll_into_view_if_needed()
    box = await chart.bounding_box()
    assert box is not None
    x = round(box["x"] + _LEFT + share * (box["width"] - _LEFT - _RIGHT))
    there = (x - box["x"] - _LEFT) / (box["width"] - _LEFT - _RIGHT)
    return x, box["y"] + 60, round(there * _LAST)


async def test_finger_reads_the_value_under_it(phone: Page, api: ApiBench) -> None:
    """Where it is put, and where it is drawn to; the words say the value that the server had."""
    await visit(phone, api)
    rates = phone.get_by_role("slider", name="Messages a second")
    readout = phone.locator(".readout:visible")
    finger = await finger_on(phone)
    x, y, number = await place_of(rates, 0.25)
    await finger.down(x, y)
    await expect(rates).to_have_attribute("aria-valuenow", str(number))
    delivered = api.outlook.series["delivered"][number]
    assert delivered is not None
    await expect(readout).to_contain_text(f"delivered{round(delivered / 10)}/s")
    await expect(phone.locator("figcaption").filter(has_text="min ago")).to_have_count(7)
    x, y, number = await place_of(rates, 0.75)
    await finger.move(x, y)
    await expect(rates).to_have_attribute("aria-valuenow", str(number))
    await finger.up()


async def test_value_stays_when_the_finger_is_lifted_until_another_place_is_touched(
    phone: Page, api: ApiBench
) -> None:
    """Under a finger nobody reads."""
    await visit(phone, api)
    rates = phone.get_by_role("slider", name="Messages a second")
    readout = phone.locator(".readout:visible")
    x, y, number = await place_of(rates, 0.5)
    await phone.touchscreen.tap(x, y)
    await expect(rates).to_have_attribute("aria-valuenow", str(number))
    await expect(readout).to_contain_text("min ago")
    await phone.locator("#overview-title").tap()
    await expect(readout).to_have_count(0)
    await expect(rates).to_have_attribute("aria-valuenow", str(_LAST))


async def test_page_is_scrolled_over_a_chart(phone: Page, api: ApiBench) -> None:
    """Up and down belongs to the page, not to the chart: its value goes."""
    await visit(phone, api)
    rates = phone.get_by_role("slider", name="Messages a second")
    x, y, _ = await place_of(rates, 0.5)
    before = await phone.evaluate("scrollY")
    finger = await finger_on(phone)
    await finger.down(x, y)
    for step in range(1, 12):
        await finger.move(x, y - 20 * step)
    await finger.up()
    await phone.wait_for_function(f"scrollY > {before}")
    await expect(phone.locator(".readout:visible")).to_have_count(0)


@pytest.mark.parametrize("width", [769, 820, 960, 961, 1280])
async def test_menu_is_one_line_on_tablets_and_desks(page: Page, api: ApiBench, width: int) -> None:
    """With the longest numbers beside its words."""
    await page.set_viewport_size({"width": width, "height": 700})
    await visit(page, api, Variant.BROKEN)
    await expect(page.get_by_role("link", name="Destinations 7 failing")).to_be_visible()
    assert await page.evaluate(_LINES) == 1


@pytest.mark.parametrize("width", [600, 768, 820, 912, 1024, 1180])
async def test_cards_of_figures_have_their_words_on_one_line_on_tablets(
    page: Page, api: ApiBench, width: int
) -> None:
    """All of a row are as high as each other then."""
    await page.set_viewport_size({"width": width, "height": 900})
    await visit(page, api)
    await expect(page.get_by_text("attempts take")).to_be_visible()
    folded = await page.evaluate(
        """[...document.querySelectorAll(".figure:not([hidden]) > *")]
            .filter(one => one.getClientRects().length > 1 || one.offsetHeight >
                1.9 * parseFloat(getComputedStyle(one).fontSize))
            .map(one => one.innerText)"""
    )
    assert folded == []


@pytest.mark.parametrize("width", [412, 820, 1280])
async def test_no_field_of_a_filter_lies_under_what_stands_beside_it(
    page: Page, api: ApiBench, width: int
) -> None:
    """Instants are the widest that browsers have."""
    await page.set_viewport_size({"width": width, "height": 900})
    for section in ("audit", "dead-letters"):
        await page.goto(f"{api.url}/#/{section}")
        await expect(page.locator(f"#{section} form").first).to_be_visible()
        await page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        wide = await page.evaluate(
            """[...document.querySelectorAll("main .field")]
                .filter(one => one.scrollWidth > one.clientWidth + 1)
                .map(one => one.innerText)"""
        )
        assert wide == [], section

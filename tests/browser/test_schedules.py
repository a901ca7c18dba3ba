"""The page of schedules in a browser: looking, pausing, running."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from dispatcher.schedules.plans import Plan, PlannedCall, PlannedMessage
from dispatcher.schedules.surface import FiringView
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import NOW_US, MemoryFunctions, call_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def functions(api: ApiBench) -> MemoryFunctions:
    """What the page shows."""
    assert api.functions is not None
    return api.functions


async def test_schedules_are_shown_with_their_next_and_last_firing(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """And follow what happens."""
    await page.goto(f"{api.url}/#/schedules")
    row = page.locator("#schedules-result tbody tr")
    await expect(row).to_have_count(1)
    for text in ("nightly", "30 2 * * *", "Europe/Berlin", "clean_up", "2026-01-01 01:30:00"):
        await expect(row).to_contain_text(text)
    await expect(row).to_contain_text("never")
    views = functions.schedules.views
    last = FiringView(NOW_US, call_id(5), "failed")
    views["", "nightly"] = replace(views["", "nightly"], last=last, is_waiting=True)
    await expect(row.get_by_role("link", name="2026-01-01 00:00:00")).to_be_visible()
    await expect(row).to_contain_text("failed")
    await expect(row).to_contain_text("when the call before has ended")
    plan = Plan("0 6 * * *", "UTC", PlannedCall("http://a.example", "report"))
    await functions.schedules.put("shop", "report", plan)
    await expect(row).to_have_count(2)
    await expect(row.nth(1)).to_contain_text("report of shop")
    await functions.schedules.delete("", "nightly")
    await functions.schedules.delete("shop", "report")
    await expect(page.get_by_text("There are no schedules.")).to_be_visible()


async def test_schedule_is_paused_resumed_and_run_with_its_buttons(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """Another application's too."""
    plan = Plan("0 6 * * *", "UTC", PlannedCall("http://a.example", "report"))
    await functions.schedules.put("shop", "report", plan)
    await page.goto(f"{api.url}/#/schedules")
    await page.get_by_role("button", name="Pause report").click()
    await expect(page.get_by_text("report is paused.")).to_be_visible()
    await expect(page.get_by_role("button", name="Resume report")).to_be_focused()
    assert functions.schedules.views["shop", "report"].plan.paused
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("report fires again.")).to_be_visible()
    assert not functions.schedules.views["shop", "report"].plan.paused
    await page.get_by_role("button", name="Run report now").click()
    await expect(page.get_by_text("is dispatched.")).to_be_visible()
    assert functions.schedules.views["shop", "report"].last_run is not None


async def test_schedule_of_a_message_is_shown_and_run(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """With where it goes, its options as a hint, and a link to its last message."""
    message = PlannedMessage(
        "http://a.example/<b>", "PUT", "/x?y", (), b"body", (("retries", "5"),)
    )
    await functions.schedules.put("", "report", Plan("0 6 * * *", "UTC", message))
    await page.goto(f"{api.url}/#/schedules")
    row = page.locator("#schedules-result tbody tr").nth(1)
    await expect(row).to_contain_text("PUT http://a.example/<b>/x?y")
    await expect(row.get_by_title("http://a.example/<b> retries=5")).to_be_visible()
    await page.get_by_role("button", name="Run report now").click()
    await expect(page.get_by_text("Message 0")).to_contain_text("is dispatched.")
    views = functions.schedules.views
    last = FiringView(NOW_US, f"{9:028x}", "delivered")
    earlier = [replace(last, state="dead"), replace(last, state=None)]
    views["", "report"] = replace(views["", "report"], last=last, is_waiting=True, earlier=earlier)
    link = row.get_by_role("link", name="2026-01-01 00:00:00")
    await expect(link).to_have_attribute("href", f"#/messages/{9:028x}")
    await expect(row).to_contain_text("deliveredbefore: dead, unknown")
    await expect(row).to_contain_text("when the message before has ended")
    await functions.schedules.delete("", "report")


async def test_refusal_is_told(
    page: Page, api: ApiBench, functions: MemoryFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the server's words."""

    async def gone(application: str, name: str) -> FiringView | None:
        return None

    monkeypatch.setattr(functions.schedules, "run", gone)
    await page.goto(f"{api.url}/#/schedules")
    await page.get_by_role("button", name="Run nightly now").click()
    await expect(page.locator("#notice")).to_contain_text("nightly")

"""The page of the audit in a browser: who did what, to how many."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from dispatcher.api.audit import Action
from dispatcher.audit.entries import Entry
from dispatcher.testing.api import ApiBench
from tests.browser.serving import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="module")

_AT_US = 1_767_225_600_000_000


async def test_audit_tells_who_did_what_to_how_many(page: Page, api: ApiBench) -> None:
    """The newest first, with the key, what was meant, and why it failed, all of it as text."""
    place = {"destination": "https://a.example"}
    api.audit.add(Entry(_AT_US, "held", "alice", place, 1))
    api.audit.add(Entry(_AT_US, "purged", "bob", place, 30, "disk_full", "00bb89ff"))
    api.audit.add(Entry(_AT_US, "redriven", "bob", {"label": HOSTILE}, 2))
    await page.goto(f"{api.url}/#/audit")
    rows = page.locator("#audit-result tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.first).to_contain_text("<script>")
    for text in ("2026-01-01 00:00:00 UTC", "purged", "bob", "destination=https://a.example", "30"):
        await expect(rows.nth(1)).to_contain_text(text)
    await expect(rows.nth(1)).to_contain_text("disk_full")
    await expect(rows.nth(1).get_by_role("link", name="00bb89ff")).to_be_visible()
    await page.locator("#audit").get_by_label("Name of the key").fill("alice")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(1)
    assert page.url.endswith("#/audit?key=alice")
    await page.locator("#audit").get_by_label("Action").select_option("purged")
    await expect(page.get_by_text("There is no such entry.")).to_be_visible()


async def test_audit_can_be_asked_for_every_action(page: Page, api: ApiBench) -> None:
    """The page knows those that the server knows."""
    await page.goto(f"{api.url}/#/audit")
    known = await page.evaluate("import('/dashboard/audit.js').then(one => one.ACTIONS)")
    assert set(known) == {action.value for action in Action}


async def test_audit_is_asked_for_since_an_instant(page: Page, api: ApiBench) -> None:
    """In UTC; it stands in the address, and in the form of who is sent that."""
    api.audit.add(Entry(_AT_US, "held", "alice", {}, 1))
    api.audit.add(Entry(_AT_US + 60_000_000, "resumed", "alice", {}, 1))
    await page.goto(f"{api.url}/#/audit")
    rows = page.locator("#audit-result tbody tr")
    await expect(rows).to_have_count(2)
    since = page.locator("#audit").get_by_label("Done since")
    await since.fill("2026-01-01T00:00:30")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("resumed")
    assert page.url.endswith("#/audit?since=2026-01-01T00%3A00%3A30Z")
    await page.reload()
    await expect(rows).to_have_count(1)
    await expect(since).to_have_value("2026-01-01T00:00:30")


async def test_audit_is_paged(page: Page, api: ApiBench) -> None:
    """Fifty on a page; that the newest are not on the disk is said."""
    for number in range(60):
        api.audit.add(Entry(_AT_US + number, "held", None, {}, 1))
    api.audit.unkept = "disk_full"
    await page.goto(f"{api.url}/#/audit")
    rows = page.locator("#audit-result tbody tr")
    await expect(rows).to_have_count(50)
    await expect(page.locator("#audit-result")).to_contain_text("disk_full")
    await page.get_by_role("link", name="Next page").click()
    await expect(rows).to_have_count(10)

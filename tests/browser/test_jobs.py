"""The page of jobs in a browser: how far they are, changing their rate, cancelling them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from dispatcher.queue.admin.pace import Pace
from dispatcher.queue.admin.surface import Course, LetterFilter, Moved
from dispatcher.testing.api import ApiBench

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def slowly(api: ApiBench, monkeypatch: pytest.MonkeyPatch) -> ApiBench:
    """Dead letters that are redriven as slowly as was asked for."""

    async def redrive(which: Any, *, course: Course | None = None) -> Moved:
        assert course is not None
        assert isinstance(which, LetterFilter)
        async for ids in course.portions(list(api.admin.dead), most=1, pace=Pace()):
            for one in ids:
                del api.admin.dead[one]
            course.did(len(ids))
        return Moved(course.done, [])

    monkeypatch.setattr(api.admin, "redrive", redrive)
    return api


async def begin(page: Page, bench: ApiBench) -> Any:
    """Begin to redrive at one a second, and look at the jobs; the row of it."""
    status, _, text = await bench.ask(
        "/v1/dead-letters/redrive", "POST", {"Prefer": "respond-async"},
        send={"destination": "https://a.example", "rate": 1},
    )  # fmt: skip
    assert status == 202, text
    await page.goto(f"{bench.url}/#/jobs")
    return page.locator("#jobs-result tbody tr")


async def test_job_is_followed_and_its_rate_changed(page: Page, slowly: ApiBench) -> None:
    """How far it is, of how many; faster when somebody says so, until it is done."""
    row = await begin(page, slowly)
    for text in ("redrive", "running", "messages", "1/s", "destination=https://a.example"):
        await expect(row).to_contain_text(text)
    await row.get_by_role("button", name="Change the rate").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("At most").fill("none")
    await dialog.get_by_role("button", name="Change the rate").click()
    await expect(page.get_by_text("has no limit now")).to_be_visible()
    await expect(row).to_contain_text("done")
    await expect(row).to_contain_text("32 of 32 messages")
    await expect(row.get_by_role("button")).to_have_count(0)


async def test_job_is_cancelled_after_a_question(page: Page, slowly: ApiBench) -> None:
    """What was done stays done; saying no lets it run."""
    row = await begin(page, slowly)
    await row.get_by_role("button", name="Cancel job").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Let it run").click()
    await expect(row).to_contain_text("running")
    await row.get_by_role("button", name="Cancel job").click()
    await dialog.get_by_role("button", name="Cancel the job").click()
    await expect(row).to_contain_text("cancelled")
    assert slowly.admin.dead


async def test_page_says_that_there_are_no_jobs(page: Page, api: ApiBench) -> None:
    """Instead of an empty table."""
    await page.goto(f"{api.url}/#/jobs")
    await expect(page.locator("#jobs-note")).to_contain_text("No job has run")


async def test_answer_that_comes_late_does_not_hide_a_newer_one(
    page: Page, slowly: ApiBench
) -> None:
    """What was asked last is shown, whichever is answered last."""
    row = await begin(page, slowly)
    await expect(row).to_have_count(1)
    held: list[Route] = []
    passes = [False]

    async def answered(route: Route) -> None:
        if passes[0]:
            passes[0] = False
            await route.continue_()
        else:
            held.append(route)

    await page.route("**/v1/jobs", answered)
    while not held:
        await page.wait_for_timeout(20)
    passes[0] = True
    await row.get_by_role("button", name="Change the rate").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("At most").fill("2/1h")
    await dialog.get_by_role("button", name="Change the rate").click()
    await expect(row).to_contain_text("2/h")
    await held[0].fulfill(json={"items": []})
    await page.wait_for_timeout(200)
    await expect(row).to_have_count(1)

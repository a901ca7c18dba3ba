"""Who does the work, on the overview in a browser: processes or nodes, and partitions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from dispatcher.api.cluster import ClusterView, MemberState, PartitionState
from dispatcher.testing.api import ApiBench
from dispatcher.testing.cluster import alone, three_nodes
from tests.browser.serving import HOSTILE

pytestmark = pytest.mark.asyncio(loop_scope="module")


def processes(now_us: int) -> ClusterView:
    """A server of two processes with two partitions each."""
    one = alone(now_us)
    (member,), (partition,) = one.members, one.partitions
    return replace(
        one,
        members=[member, replace(member, number=1, has_api=False)],
        partitions=[replace(partition, number=n, owner=n % 2, late_ms=n * 7) for n in range(4)],
    )


async def test_nodes_and_partitions_are_shown_with_what_is_wrong(page: Page, api: ApiBench) -> None:
    """Who is away, what nobody has, and why one cannot be opened."""
    api.cluster.shown = three_nodes(api.outlook.now_us())
    await page.goto(api.url)
    nodes = page.get_by_role("table", name="What each of them has").get_by_role("row")
    await expect(page.get_by_role("heading", name="Nodes")).to_be_visible()
    await expect(nodes).to_have_count(4)
    for text in ("node-1", "answers this page", "node-1.example:8082", "live", "0, 2", "24 h ago"):
        await expect(nodes.nth(1)).to_contain_text(text)
    for text in ("node-3", "away", "s ago"):
        await expect(nodes.nth(3)).to_contain_text(text)
    partitions = page.get_by_role("table", name="Who accepts and delivers").get_by_role("row")
    await expect(partitions).to_have_count(7)
    for number, texts in {
        1: ("node-1", "open", "no"),
        2: ("node-2", "open", "3 ms"),
        3: ("node-1", "opening"),
        4: ("node-3", "away"),
        5: ("nobody", "free"),
        6: ("node-2", "failed", "the log ends too soon"),
    }.items():
        for text in texts:
            await expect(partitions.nth(number)).to_contain_text(text)


async def test_processes_of_a_server_are_followed(page: Page, api: ApiBench) -> None:
    """One goes away and comes back; its row stays the same element."""
    view = processes(api.outlook.now_us())
    api.cluster.shown = view
    await page.goto(api.url)
    await expect(page.get_by_role("heading", name="Processes")).to_be_visible()
    rows = page.get_by_role("table", name="What each of them has").get_by_role("row")
    await expect(rows.nth(2)).to_contain_text("Process 1")
    await expect(rows.nth(2)).to_contain_text("1, 3")
    row = await rows.nth(2).element_handle()
    assert row is not None
    gone = replace(view.members[1], state=MemberState.AWAY)
    lost = [replace(one, state=PartitionState.AWAY) for one in view.partitions if one.number % 2]
    kept = [one for one in view.partitions if not one.number % 2]
    api.cluster.shown = replace(view, members=[view.members[0], gone], partitions=[*kept, *lost])
    await expect(rows.nth(2)).to_contain_text("away")
    api.cluster.shown = view
    await expect(rows.nth(2)).to_contain_text("live")
    assert await row.evaluate("one => one.isConnected")


async def test_server_of_one_process_shows_none_and_is_asked_once(
    page: Page, api: ApiBench
) -> None:
    """There is nothing to be seen, until it starts anew with more."""
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "v1/cluster" in one.url else None)
    await page.clock.install()
    await page.goto(api.url)
    await expect(page.locator("#health-text")).to_have_text("Ready")
    await expect(page.locator("#members")).to_be_hidden()
    for _ in range(3):
        async with page.expect_response("**/v1/overview"):
            await page.clock.run_for(2_000)
    assert len(asked) == 1
    api.cluster.shown = processes(api.outlook.now_us())
    api.outlook.shown = replace(api.outlook.shown, started_at_us=api.outlook.now_us())
    await page.clock.run_for(2_000)
    await expect(page.locator("#members")).to_be_visible()


async def test_names_of_nodes_are_text(page: Page, api: ApiBench) -> None:
    """Whatever somebody called a host."""
    view = three_nodes(api.outlook.now_us())
    hostile = [replace(one, node=HOSTILE, address=HOSTILE) for one in view.members]
    why = [replace(one, why=HOSTILE) for one in view.partitions]
    api.cluster.shown = replace(view, members=hostile, partitions=why)
    await page.goto(api.url)
    await expect(page.locator("#members")).to_contain_text("<script>")
    assert await page.title() == "Overview – Dispatcher"


@pytest.mark.parametrize("width", [360, 820, 1280, 1600])
async def test_members_fit_the_screen(page: Page, api: ApiBench, width: int) -> None:
    """Nothing is scrolled sideways."""
    api.cluster.shown = three_nodes(api.outlook.now_us())
    await page.set_viewport_size({"width": width, "height": 900})
    await page.goto(api.url)
    await expect(page.locator("#members")).to_be_visible()
    await expect(page.get_by_text("the log ends too soon")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


SPANS = {"[]": "", "[3]": "3", "[0, 1, 2, 5, 7, 8]": "0–2, 5, 7–8"}


async def test_partitions_in_a_row_are_told_as_a_span(page: Page, api: ApiBench) -> None:
    """As a person would say it."""
    await page.goto(api.url)
    for numbers, text in SPANS.items():
        call = f"import('/dashboard/members.js').then(one => one.spans({numbers}))"
        assert json.dumps(await page.evaluate(call)) == json.dumps(text)

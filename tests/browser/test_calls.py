"""The page of function calls in a browser: looking, narrowing, following, ending."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from dispatcher.api.call_values import any_of
from dispatcher.functions.shown import CallState
from dispatcher.functions.surface import CancelMode
from dispatcher.protocol.messages import CallResult
from dispatcher.testing.admin import dead_call
from dispatcher.testing.api import ApiBench
from dispatcher.testing.function_service import MemoryFunctions, call_id, view
from tests.browser.serving import CHARGE, HOSTILE, MAIL, ORDER, SHIP, STRANGE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def functions(api: ApiBench) -> MemoryFunctions:
    """What the page shows."""
    assert api.functions is not None
    return api.functions


async def visit(page: Page, bench: ApiBench, place: str = "") -> None:
    """Open the page of calls, or a place in it."""
    await page.goto(f"{bench.url}/#/calls{place}")


async def test_calls_are_narrowed_by_the_form_and_its_address(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """What is asked for stands in the address, so that it can be sent to others."""
    await visit(page, api)
    rows = page.locator("#calls-result tbody tr")
    await expect(rows).to_have_count(5)
    await expect(rows.first).to_contain_text(STRANGE)
    await page.locator("#calls").get_by_label("State").select_option("suspended")
    await expect(rows).to_have_count(2)
    await page.locator("#calls").get_by_label("Roots only").check()
    await expect(rows).to_have_count(1)
    assert page.url.endswith("#/calls?state=suspended&roots=true")
    await page.locator("#calls").get_by_label("Function", exact=True).fill("mail")
    await page.locator("#calls").get_by_role("button", name="Show").click()
    await expect(page.get_by_text("There are no such calls.")).to_be_visible()
    await visit(page, api, "?endpoint=https%3A%2F%2Fb.example")
    await expect(page.locator("#calls").get_by_label("Endpoint")).to_have_value("https://b.example")
    await expect(rows).to_have_count(1)


async def test_endpoints_stay_on_one_line_where_there_is_room(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """An address with a port, beside the longest function."""
    await page.set_viewport_size({"width": 1300, "height": 900})
    await visit(page, api)
    row = page.locator(f"#calls-result tr[data-id='{ORDER}']")
    await expect(row).to_be_visible()
    for address in await page.locator("#calls-result td.broad bdi").all():
        lines = await address.evaluate("one => one.getClientRects().length")
        assert lines == 1, await address.inner_text()


async def test_wide_cells_share_a_line_of_a_card_where_there_is_room(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """Between a table and a telephone: function and endpoint."""
    await page.set_viewport_size({"width": 800, "height": 900})
    await visit(page, api)
    cells = page.locator(f"#calls-result tr[data-id='{ORDER}'] td.wide")
    await expect(cells).to_have_count(2)
    tops = [await cell.evaluate("one => one.offsetTop") for cell in await cells.all()]
    assert tops[0] == tops[1]


async def test_list_says_why_a_call_failed_at_once(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """Also where no run of it was tried again."""
    failed = replace(view(6), state=CallState.FAILED, attempts=0, last_error="ValueError")
    functions.put(failed)
    await visit(page, api)
    row = page.locator(f"#calls-result tr[data-id='{call_id(6)}']")
    await expect(row.get_by_role("cell", name="ValueError")).to_be_visible()


async def test_calls_are_paged(page: Page, api: ApiBench, functions: MemoryFunctions) -> None:
    """Fifty on a page."""
    for number in range(100, 160):
        functions.put(view(number))
    await visit(page, api)
    rows = page.locator("#calls-result tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("link", name="Next page").click()
    await expect(rows).to_have_count(15)
    await page.get_by_role("link", name="First page").click()
    await expect(rows.first).to_contain_text(call_id(159))


async def test_calls_appear_and_change_while_they_are_looked_at(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """But nothing moves away below the pointer; then only states change."""
    await visit(page, api)
    rows = page.locator("#calls-result tbody tr")
    await expect(rows).to_have_count(5)
    functions.put(view(6))
    await expect(rows).to_have_count(6)
    await rows.first.hover()
    functions.put(view(7))
    functions.put(replace(functions.views[call_id(6)], state=CallState.RUNNING))
    await expect(rows.first).to_contain_text("running")
    await expect(rows).to_have_count(6)
    await page.mouse.move(0, 0)
    await expect(rows).to_have_count(7)


async def test_call_is_shown_with_its_tree_and_timeline(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """The calls under it below those that called them, each with a link."""
    await visit(page, api)
    await page.get_by_role("link", name=ORDER).click()
    await expect(page.get_by_text("It waits for the results of 1 call.")).to_be_visible()
    await expect(page.get_by_text("Why it has not ended")).to_be_visible()
    await expect(page.locator("#calls").get_by_label("State")).to_be_hidden()
    tree = page.get_by_role("table", name="3 calls")
    await expect(tree.get_by_role("rowheader")).to_have_text(
        ["order", "level 1: charge", "level 2: mail"]
    )
    timeline = page.get_by_role("table", name="What happened to it")
    await expect(timeline.locator("tbody tr").nth(1)).to_contain_text(
        "attempt 1: temporary error in 40 ms, again at 2026-01-01 00:00:00 UTC: HTTP 503"
    )
    await tree.get_by_role("link", name=MAIL).click()
    await expect(page.get_by_text("It is run", exact=False)).to_be_visible()
    await page.get_by_role("link", name=CHARGE).click()
    await expect(page.get_by_role("heading", name="Call suspended")).to_be_visible()


async def test_promise_in_a_tree_is_named_by_its_endpoint(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """It has no function."""
    promise = view(9, state=CallState.OUTSIDE, function="", endpoint="promise:paid", parent=1)
    functions.put(promise)
    await visit(page, api, f"/{ORDER}")
    tree = page.get_by_role("table", name="4 calls")
    await expect(tree).to_contain_text("level 1: promise:paid")
    await tree.get_by_role("link", name=promise.id).click()
    await expect(page.get_by_text("All calls / promise:paid")).to_be_visible()


async def test_call_is_followed_until_it_has_ended(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """Then its result is there, as JSON."""
    await visit(page, api, f"/{ORDER}")
    await expect(page.get_by_role("heading", name="Call suspended")).to_be_visible()
    await functions.end(ORDER, CallResult(output=any_of({"paid": True})), CallState.SUCCEEDED)
    await expect(page.get_by_role("heading", name="Call succeeded")).to_be_visible()
    await expect(page.get_by_label("Result as JSON")).to_contain_text('"paid": true')
    await expect(page.get_by_role("button", name="Cancel call")).to_be_hidden()


async def test_call_is_cancelled_and_killed_after_a_question(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """Saying no changes nothing."""
    await visit(page, api, f"/{ORDER}")
    dialog = page.get_by_role("dialog")
    for name, mode in (("Cancel", CancelMode.CANCEL), ("Kill", CancelMode.KILL)):
        functions.cancelled.clear()
        await page.get_by_role("button", name=f"{name} call").click()
        await expect(dialog).to_contain_text(f"{name} this call?")
        await dialog.get_by_role("button", name="Let it run").click()
        await expect(dialog).to_be_hidden()
        assert functions.cancelled == []
        await page.get_by_role("button", name=f"{name} call").click()
        await dialog.get_by_role("button", name=f"{name} the call").click()
        await expect(dialog).to_be_hidden()
        assert functions.cancelled == [(ORDER, mode)]
    await expect(page.get_by_text("The call is killed.")).to_be_visible()


async def test_call_shows_what_strangers_wrote_as_text(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """HTML in names, errors and results is shown and never run."""
    await visit(page, api, f"/{STRANGE}")
    shown = HOSTILE.replace("\u202e", "\\u{202e}")
    await expect(page.get_by_role("heading", name="Error")).to_be_visible()
    assert await page.get_by_text(shown, exact=True).count() >= 3
    assert "ran" not in await page.title()


async def test_dead_call_leads_to_its_letter_and_back(
    page: Page, api: ApiBench, functions: MemoryFunctions
) -> None:
    """And an id that is searched for leads to the call, where it is no dead letter."""
    made = dead_call(5)
    api.admin.bury(replace(made, letter=replace(made.letter, id=STRANGE)))
    await visit(page, api, f"/{STRANGE}")
    await page.get_by_role("link", name="Dead letter", exact=True).click()
    await expect(page.get_by_role("heading", name="Dead letter", exact=True)).to_be_visible()
    await page.get_by_role("link", name="Show the call").click()
    await expect(page.get_by_role("heading", name="Call failed")).to_be_visible()
    await page.goto(f"{api.url}/#/messages")
    await page.get_by_label("Message id").fill(SHIP)
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="Show the call").click()
    await expect(page.get_by_role("heading", name="Call succeeded")).to_be_visible()


@pytest.mark.parametrize(
    ("call", "told"),
    [("x", "An id of a call is 28 digits"), (call_id(77), "No call")],
)
async def test_call_that_nobody_knows_is_said_to_be_unknown(
    page: Page, api: ApiBench, call: str, told: str
) -> None:
    """In words, with a way back."""
    await visit(page, api, f"/{call}")
    await expect(page.locator("#calls-status")).to_contain_text(told)
    await expect(page.get_by_role("link", name="All calls")).to_be_visible()

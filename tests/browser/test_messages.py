"""The page of messages that wait in a browser: finding, choosing, retrying, cancelling."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, expect

from dispatcher.queue.admin.surface import MessageState
from dispatcher.testing.admin import message, message_id
from dispatcher.testing.api import ApiBench

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY, SCHEDULED, DELIVERED = message_id(1), message_id(2), message_id(4)


async def visit(page: Page, bench: ApiBench, place: str = "") -> Any:
    """Open the page, or a place in it; the rows of its list."""
    await page.goto(f"{bench.url}/#/messages{place}")
    return page.locator("#search-result tbody tr")


async def test_list_is_narrowed_by_the_form_and_its_address(page: Page, api: ApiBench) -> None:
    """What is asked for stands in the address, so that it can be sent to others."""
    labelled = message(50, MessageState.SCHEDULED, to="b")
    api.admin.put(replace(labelled, label="orders", options={"label": "orders"}))
    rows = await visit(page, api)
    await expect(rows).to_have_count(4)
    await expect(rows.first).to_contain_text("POST /hooks/1?x=%2F")
    section = page.locator("#messages")
    await section.get_by_label("State").select_option("scheduled")
    await expect(rows).to_have_count(2)
    await section.get_by_label("Label").fill("orders")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(1)
    assert page.url.endswith("#/messages?state=scheduled&label=orders")
    await page.get_by_role("link", name="Clear filter").click()
    await expect(rows).to_have_count(4)
    await visit(page, api, "?destination=https%3A%2F%2Fc.example")
    await expect(page.get_by_text("No such message waits.")).to_be_visible()


async def test_list_says_what_is_wrong_with_a_filter(page: Page, api: ApiBench) -> None:
    """In the server's words."""
    await visit(page, api)
    await page.locator("#messages").get_by_label("Older than").fill("soon")
    await page.keyboard.press("Enter")
    await expect(page.locator("#search-status")).to_contain_text("older_than")


async def test_list_is_paged(page: Page, api: ApiBench) -> None:
    """Fifty on a page; what is chosen on one stays so on the next."""
    for number in range(100, 160):
        api.admin.put(message(number))
    rows = await visit(page, api)
    await expect(rows).to_have_count(50)
    await page.get_by_label(f"Choose {READY}").check()
    await page.get_by_role("link", name="Next page").click()
    await expect(rows).to_have_count(13)
    await expect(page.get_by_text("1 message chosen.")).to_be_visible()


async def test_chosen_messages_are_cancelled_after_a_count(page: Page, api: ApiBench) -> None:
    """The dialog says how many, and what is left alone; the others stay."""
    api.admin.put(message(60))
    rows = await visit(page, api)
    cancel = page.get_by_role("group").get_by_role("button", name="Cancel")
    await expect(cancel).to_have_attribute("aria-disabled", "true")
    for number in (1, 3, 60):
        await page.get_by_label(f"Choose {message_id(number)}").check()
    await cancel.click()
    dialog = page.get_by_role("dialog", name="Cancel: 2 messages?")
    await expect(dialog).to_contain_text("1 message in flight")
    await dialog.get_by_role("button", name="Leave them").click()
    assert message_id(60) in api.admin.messages
    await cancel.click()
    await dialog.get_by_role("button", name="Cancel: 2 messages").click()
    await expect(rows).to_have_count(2)
    assert sorted(api.admin.messages) == [message_id(2), message_id(3), DELIVERED]


async def test_all_that_match_are_retried(page: Page, api: ApiBench) -> None:
    """Also those on other pages; what waits for a time is due then."""
    for number in range(100, 160):
        api.admin.put(message(number, MessageState.SCHEDULED, to="b"))
    rows = await visit(page, api, "?destination=https%3A%2F%2Fb.example")
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Choose all that match").click()
    await page.get_by_role("group").get_by_role("button", name="Retry now").click()
    dialog = page.get_by_role("dialog", name="Retry now: 60 messages?")
    await expect(dialog).to_contain_text("destination: https://b.example")
    await dialog.get_by_role("button", name="Retry now: 60 messages").click()
    await expect(page.get_by_text("60 messages due now.")).to_be_visible()
    assert api.admin.messages[message_id(159)].state is MessageState.READY
    assert api.admin.messages[SCHEDULED].state is MessageState.SCHEDULED


async def test_chosen_messages_are_redirected_and_given_up(page: Page, api: ApiBench) -> None:
    """Some are sent elsewhere; all that match are kept among the dead letters."""
    for number in (100, 101, 102):
        api.admin.put(message(number, to="b"))
    rows = await visit(page, api, "?destination=https%3A%2F%2Fb.example")
    await page.get_by_label(f"Choose {message_id(101)}").check()
    await page.get_by_role("group").get_by_role("button", name="Redirect").click()
    dialog = page.get_by_role("dialog", name="Redirect: 1 message?")
    await dialog.get_by_label("New destination").fill("https://c.example")
    await dialog.get_by_role("button", name="Redirect: 1 message").click()
    await expect(rows).to_have_count(2)
    assert api.admin.messages[message_id(101)].destination == "https://c.example"
    await page.get_by_role("button", name="Choose all that match").click()
    await page.get_by_role("group").get_by_role("button", name="Give up").click()
    await page.get_by_role("dialog").get_by_role("button", name="Give up: 2 messages").click()
    await expect(page.get_by_text("2 messages moved to the dead letters.")).to_be_visible()
    assert {message_id(100), message_id(102)} <= set(api.admin.dead)


async def test_message_is_retried_given_up_and_redirected(page: Page, api: ApiBench) -> None:
    """Each with its button on the page of the message."""
    await visit(page, api, f"/{SCHEDULED}")
    await page.get_by_role("button", name="Retry now").click()
    await expect(page.get_by_role("heading", name="Message ready")).to_be_visible()
    await page.get_by_role("button", name="Redirect").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("New destination").fill("https://other.example")
    await dialog.get_by_role("button", name="Redirect: 1 message").click()
    result = page.locator("#search-result")
    await expect(result.get_by_role("link", name="https://other.example")).to_be_visible()
    await page.get_by_role("button", name="Give up").click()
    await dialog.get_by_role("button", name="Give up: 1 message").click()
    await expect(page.get_by_role("heading", name="Message dead")).to_be_visible()
    assert SCHEDULED in api.admin.dead


async def test_message_is_shown_with_its_headers_and_body(page: Page, api: ApiBench) -> None:
    """Secrets are masked until they are asked for; the body can be saved."""
    headers = [(b"Authorization", b"Bearer s3cret"), (b"Content-Type", b"text/plain")]
    api.admin.requests[READY] = (headers, b"good morning")
    await visit(page, api, f"/{READY}")
    result = page.locator("#search-result")
    await expect(result).to_contain_text("Bearer ***")
    await expect(result).to_contain_text("good morning")
    await page.get_by_role("button", name="Show secrets").click()
    await expect(result).to_contain_text("Bearer s3cret")
    async with page.expect_download() as download:
        await page.get_by_text("Download body").click()
    saved = await (await download.value).path()
    assert await asyncio.to_thread(saved.read_bytes) == b"good morning"


async def test_search_explains_and_cancels_a_message(page: Page, api: ApiBench) -> None:
    """Found by its id; the cancelled one is unknown from then on."""
    await visit(page, api)
    await page.get_by_label("Message id").fill(f" {SCHEDULED.upper()} ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("it waits for the next")).to_be_visible()
    await expect(page.locator("#search-result")).to_contain_text("HTTP 503")
    # All three are the same instant here: it is told once.
    await expect(page.get_by_text("Next attempt")).to_be_visible()
    await expect(page.locator("dt", has_text=re.compile("Waits until|Expected"))).to_have_count(0)
    await page.get_by_role("button", name="Cancel message").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Cancel: 1 message").click()
    await expect(page.get_by_text("1 message cancelled.")).to_be_visible()
    await expect(page.locator("#search-status")).not_to_be_empty()
    assert SCHEDULED not in api.admin.messages


@pytest.mark.parametrize("text", ["xyz", "0" * 27, "../stats", "%2e%2e/x?y#z"])
async def test_search_says_what_an_id_is_when_it_is_none(
    page: Page, api: ApiBench, text: str
) -> None:
    """The server is not even asked."""
    await visit(page, api)
    await page.get_by_label("Message id").fill(text)
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("#search-status")).to_contain_text("28 digits")


async def test_search_offers_no_cancelling_when_it_is_over(page: Page, api: ApiBench) -> None:
    """A delivered message can't be taken back."""
    await visit(page, api, f"/{DELIVERED}")
    await expect(page.get_by_text("It was delivered.")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel message")).to_have_count(0)


async def test_message_shows_its_options(page: Page, api: ApiBench) -> None:
    """Under its state; the label leads to the messages that have it."""
    options = {"not_before": "2027-01-31T12:00:00.000000Z", "label": "orders"}
    api.admin.put(replace(message(900, MessageState.SCHEDULED), label="orders", options=options))
    rows = await visit(page, api, f"/{message_id(900)}")
    result = page.locator("#search-result")
    await expect(result).to_contain_text("Not before2027-01-31T12:00:00.000000Z")
    await result.get_by_role("link", name="orders").click()
    await expect(rows).to_have_count(1)

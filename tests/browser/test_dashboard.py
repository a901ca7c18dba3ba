"""The dashboard in a browser: what operators see and do there.

Every test also holds the page to what the fixture `page` looks at: no request to another host, no
violation of the policy, no error of a script.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import LetterFilter, MessageState, Moved
from dispatcher.testing.admin import dead_call, letter, message, message_id
from dispatcher.testing.api import ApiBench
from tests.browser.conftest import KEY, PATIENCE_MS
from tests.browser.serving import (
    HOSTILE,
    ORDER,
    STRANGE,
    deliver,
    hostile_letter,
    long_letter,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is shown once a section is.
SECTIONS = {
    "overview": "Backlog",
    "lanes": "https://a.example",
    f"messages/{message_id(1)}": "Others are before it",
    f"messages/{message_id(1032)}": "Text in UTF-8",
    f"messages/{message_id(2000)}": "Not text",
    "dead-letters": "dead letters in",
    "dead-letters/list": "Oldest first",
    "events": "Listening",
    "calls": "order",
    f"calls/{ORDER}": "waits for 1 call",
    "schedules": "clean_up",
    f"calls/{STRANGE}": "Error",
}
READY, SCHEDULED, DELIVERED = message_id(1), message_id(2), message_id(4)
# How much wider a page is than its window.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def visit(page: Page, bench: ApiBench, section: str = "") -> None:
    """Open a section, and wait for what it shows."""
    await page.goto(f"{bench.url}/{f'#/{section}' if section else ''}")


def figure(page: Page, name: str) -> Any:
    """The number below a name of the overview."""
    return page.locator("#figures > div").filter(has_text=name).locator(".big")


# Signing in


async def test_login_is_told_when_the_key_is_wrong(page: Page, locked: ApiBench) -> None:
    """In words, and nothing is shown."""
    await visit(page, locked)
    await page.get_by_label("API key").fill("no-key")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#login-error")).to_contain_text("none of the server's keys")
    await expect(page.get_by_label("API key")).to_be_focused()
    await expect(page.get_by_role("heading", name="Overview")).to_be_hidden()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_login_opens_the_page_when_the_key_is_right(page: Page, locked: ApiBench) -> None:
    """The key is kept for this tab only, outlives a reload, and is forgotten on signing out."""
    await visit(page, locked, "dead-letters")
    await page.get_by_label("API key").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("32 dead letters in 2 groups.")).to_be_visible()
    stored = "[sessionStorage.length, localStorage.length, document.cookie]"
    assert await page.evaluate(stored) == [1, 0, ""]
    await page.reload()
    await expect(page.get_by_text("32 dead letters in 2 groups.")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    assert await page.evaluate(stored) == [0, 0, ""]


async def test_login_is_not_asked_for_when_no_keys_are_set(page: Page, api: ApiBench) -> None:
    """Then a 401 never comes."""
    await visit(page, api)
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(page.get_by_label("API key")).to_be_hidden()
    await expect(page.get_by_role("button", name="Sign out")).to_be_hidden()


# Overview


async def test_overview_changes_when_messages_are_delivered(page: Page, api: ApiBench) -> None:
    """Rates and latencies are of what happens now, and lines are drawn."""
    await visit(page, api)
    await expect(figure(page, "Backlog")).to_have_text("3")
    await expect(figure(page, "Accepted")).to_have_text("0")
    delivering = asyncio.create_task(keep_delivering(api))
    await expect(figure(page, "Accepted")).not_to_have_text("0")
    await expect(figure(page, "median")).to_have_text("30 ms")
    await expect(figure(page, "p95")).to_have_text("48 ms")
    delivering.cancel()
    chart = page.get_by_role("img", name="Messages a second")
    assert await chart.locator("polyline").count() == 3
    await expect(page.locator("#health-text")).to_contain_text("Ready")


async def keep_delivering(bench: ApiBench) -> None:
    """Let messages come and go until this is cancelled: a rate is shown for one look only."""
    for first in itertools.count(10_000, 60):
        deliver(bench, range(first, first + 60))
        await asyncio.sleep(0.5)


async def test_overview_says_why_when_messages_are_not_accepted(page: Page, api: ApiBench) -> None:
    """With what to do, as /readyz says it."""
    api.reason = "disk_full"
    await visit(page, api)
    await expect(page.locator("#health-text")).to_contain_text("Make space")
    api.reason = None
    await expect(page.locator("#health-text")).to_contain_text("Ready")


async def test_overview_says_so_when_the_server_is_gone(page: Page, api: ApiBench) -> None:
    """Nothing old is shown as if it were now."""
    await visit(page, api)
    await expect(figure(page, "Backlog")).to_have_text("3")
    await api.server.stop()
    await expect(page.locator("#health-text")).to_contain_text("can't be reached")
    await expect(figure(page, "Backlog")).to_have_text("–")


async def test_overview_asks_for_nothing_while_the_tab_is_hidden(page: Page, api: ApiBench) -> None:
    """And goes on when it is seen again."""
    await page.clock.install()
    await visit(page, api)
    await expect(figure(page, "Backlog")).to_have_text("3")
    await hide(page, is_hidden=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.clock.run_for(20_000)
    assert asked == []
    await hide(page, is_hidden=False)
    async with page.expect_response("**/v1/stats?*"):
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


# Lanes


async def test_lane_is_held_and_resumed_with_its_button(page: Page, api: ApiBench) -> None:
    """The row says how it is now, and the button keeps the focus."""
    await visit(page, api, "lanes")
    row = page.get_by_role("row").filter(has_text="https://a.example")
    await row.get_by_role("button", name="Hold https://a.example").click()
    await expect(row).to_contain_text("held")
    assert api.admin.held == {"https://a.example"}
    await expect(page.get_by_text("is held. Its messages and calls wait.")).to_be_visible()
    resume = row.get_by_role("button", name="Resume https://a.example")
    await expect(resume).to_be_focused()
    await resume.click()
    await expect(row).to_contain_text("sending")
    assert api.admin.held == set()


async def test_lane_of_calls_stands_beside_that_of_messages(page: Page, api: ApiBench) -> None:
    """Each has a row of its own, also of one destination."""
    assert api.functions is not None
    api.functions.applications = ["https://a.example", "bridge://laptop/shop"]
    await visit(page, api, "lanes")
    rows = page.get_by_role("row").filter(has_text="https://a.example")
    await expect(rows).to_have_count(2)
    await expect(rows.filter(has_text="calls")).to_have_count(1)
    await expect(rows.filter(has_text="messages")).to_have_count(1)
    session = page.get_by_role("row").filter(has_text="bridge://laptop/shop")
    await expect(session).to_be_visible()
    await expect(session.get_by_role("button")).to_have_count(0)


async def test_lane_whose_breaker_is_open_is_not_said_to_be_sending(
    page: Page, api: ApiBench
) -> None:
    """Also when it backs off no longer and waits for a message to try; as the command line says."""
    api.admin.backing_off["https://a.example"] = 0
    await visit(page, api, "lanes")
    row = page.get_by_role("row").filter(has_text="https://a.example")
    await expect(row).to_contain_text("probing")
    await expect(row).not_to_contain_text("sending")


async def test_lanes_are_filtered_and_sorted_and_bounded(page: Page, api: ApiBench) -> None:
    """A hundred rows; that there are more is said."""
    for number in range(120):
        api.admin.put(message(500 + number, to=f"lane-{number:03}"))
    await visit(page, api, "lanes")
    await expect(page.locator("#lane-note")).to_have_text(
        "122 lanes; the first 100 are shown. Filter to see others."
    )
    rows = page.locator("#lane-table tbody tr")
    await expect(rows).to_have_count(100)
    await page.get_by_label("Filter by destination", exact=True).fill("LANE-01")
    await expect(rows).to_have_count(10)
    by_name = page.get_by_role("columnheader", name="Destination")
    await by_name.get_by_role("button").click()
    await expect(rows.first).to_contain_text("lane-010")
    await expect(by_name).to_have_attribute("aria-sort", "ascending")
    await by_name.get_by_role("button").click()
    await expect(rows.first).to_contain_text("lane-019")


async def test_lane_says_why_when_it_cannot_be_held(page: Page, api: ApiBench) -> None:
    """What the server refuses it says in words."""
    api.admin.refusal = Refusal(503, "disk_full", "There is no space for the log. Make space.")
    await visit(page, api, "lanes")
    await page.get_by_role("button", name="Hold https://a.example").click()
    await expect(page.locator("#notice")).to_contain_text("Make space.")


# Search


async def test_search_explains_and_cancels_a_message(page: Page, api: ApiBench) -> None:
    """Found by its id; the cancelled one is unknown from then on."""
    await visit(page, api, "messages")
    await page.get_by_label("Message id").fill(f" {SCHEDULED.upper()} ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("it waits for the next")).to_be_visible()
    await expect(page.locator("#search-result")).to_contain_text("HTTP 503")
    await page.get_by_role("button", name="Cancel message").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Cancel the message").click()
    await expect(page.get_by_text("The message is cancelled.")).to_be_visible()
    await expect(page.locator("#search-status")).not_to_be_empty()
    assert SCHEDULED not in api.admin.messages


@pytest.mark.parametrize("text", ["xyz", "0" * 27, "../stats", "%2e%2e/x?y#z"])
async def test_search_says_what_an_id_is_when_it_is_none(
    page: Page, api: ApiBench, text: str
) -> None:
    """The server is not even asked."""
    await visit(page, api, "messages")
    await page.get_by_label("Message id").fill(text)
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("#search-status")).to_contain_text("28 digits")


async def test_search_offers_no_cancelling_when_it_is_over(page: Page, api: ApiBench) -> None:
    """A delivered message can't be taken back."""
    await visit(page, api, f"messages/{DELIVERED}")
    await expect(page.get_by_text("It was delivered.")).to_be_visible()
    await expect(page.get_by_role("button", name="Cancel message")).to_have_count(0)


async def test_dead_letter_is_shown_with_everything_when_it_is_searched(
    page: Page, api: ApiBench
) -> None:
    """Headers, attempts, and the body as text, or as digits where it is none; with a download."""
    api.admin.bury(long_letter(2000))
    await visit(page, api, f"messages/{message_id(1001)}")
    result = page.locator("#search-result")
    await expect(result).to_contain_text('{"hello": "world"}')
    await expect(result).to_contain_text("application/json")
    await expect(result).to_contain_text("Jürgen")
    await expect(result).to_contain_text("no \ufffd capacity")
    await visit(page, api, f"messages/{message_id(2000)}")
    await expect(result).to_contain_text("000010  10 11 12")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download body").click()
    saved = await (await download.value).path()
    assert await asyncio.to_thread(saved.read_bytes) == bytes(range(256))


# Dead letters


async def test_group_is_opened_and_one_of_it_shown_and_redriven(page: Page, api: ApiBench) -> None:
    """From the group to the list to the letter; then it is a message again."""
    await visit(page, api, "dead-letters")
    await page.get_by_role("link", name="Show: https://a.example, HTTP 503").click()
    first = message_id(1001)
    await page.get_by_role("link", name=f"Show {first}").click()
    await page.get_by_role("button", name="Redrive", exact=True).click()
    await expect(page.get_by_text("1 dead letter redriven")).to_be_visible()
    await expect(page.get_by_text("Others are before it")).to_be_visible()
    assert api.admin.messages[first].state is MessageState.READY


async def test_dead_call_is_found_by_its_function_shown_and_redriven(
    page: Page, api: ApiBench
) -> None:
    """Its group, its list, and all of it, which has an input and no headers."""
    api.admin.bury(dead_call(1))
    call = f"{1 << 63 | 1:028x}"
    await visit(page, api, "dead-letters")
    name = "Show: http://apps.example:8000, function charge, permanent error"
    await page.get_by_role("link", name=name).click()
    result = page.locator("#dead-result")
    await expect(result).to_contain_text("call charge at http://apps.example:8000")
    await page.get_by_role("link", name=f"Show {call}").click()
    shown = page.locator("#search-result")
    for part in ("no such card", "ValueError", "shop", "the function failed", "Input, 13 bytes"):
        await expect(shown).to_contain_text(part)
    await expect(shown).not_to_contain_text("Request headers")
    await page.get_by_role("button", name="Redrive", exact=True).click()
    await expect(page.get_by_text("1 dead letter redriven")).to_be_visible()
    assert call not in api.admin.dead


async def test_list_has_pages_when_there_are_many(page: Page, api: ApiBench) -> None:
    """Each with the address it can be found at again."""
    for number in range(1100, 1130):
        api.admin.bury(letter(number))
    await visit(page, api, "dead-letters/list")
    rows = page.locator("#dead-result tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("link", name="Next page").click()
    await expect(rows).to_have_count(12)
    await expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    await page.go_back()
    await expect(rows).to_have_count(50)


async def test_group_is_redriven_at_a_rate_when_it_is_confirmed(page: Page, api: ApiBench) -> None:
    """The dialog says how many, and nothing else moves."""
    await visit(page, api, "dead-letters")
    await page.get_by_role("button", name="Redrive: https://b.example, timed out").click()
    dialog = page.get_by_role("dialog", name="Redrive 2 dead letters?")
    await dialog.get_by_label("Messages a second at most").fill("7")
    await dialog.get_by_role("button", name="Redrive 2 dead letters").click()
    await expect(page.get_by_text("30 dead letters in 1 group.")).to_be_visible()
    assert api.admin.rates == [7]
    assert len(api.admin.dead) == 30


async def test_group_says_what_else_goes_when_it_cannot_be_taken_alone(
    page: Page, api: ApiBench
) -> None:
    """The API selects by destination, status and error; a group is also of a reason."""
    api.admin.bury(letter(1500, reason="rejected"))
    await visit(page, api, "dead-letters")
    await page.get_by_role("button", name="Purge: https://a.example, HTTP 503").first.click()
    dialog = page.get_by_role("dialog", name="Purge 31 dead letters?")
    await expect(dialog).to_contain_text("so these go together")
    await expect(dialog).to_contain_text("1 dead letter: HTTP 503, rejected for good")


async def test_purge_changes_nothing_when_it_is_not_confirmed(page: Page, api: ApiBench) -> None:
    """Neither with Cancel, which has the focus, nor with Escape."""
    await visit(page, api, "dead-letters")
    purge = page.get_by_role("button", name="Purge all")
    for close in ("Enter", "Escape"):
        await purge.click()
        cancel = page.get_by_role("dialog").get_by_role("button", name="Cancel")
        await expect(cancel).to_be_focused()
        await page.keyboard.press(close)
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await expect(purge).to_be_focused()
    assert len(api.admin.dead) == 32


async def test_purge_takes_only_what_was_counted(page: Page, api: ApiBench) -> None:
    """What dies while the dialog is open is not among those that somebody agreed to lose."""
    await visit(page, api, "dead-letters")
    await page.get_by_role("button", name="Purge all").click()
    dialog = page.get_by_role("dialog", name="Purge 32 dead letters?")
    await expect(dialog).to_be_visible()
    api.admin.bury(letter(1900))
    await dialog.get_by_role("button", name="Purge 32 dead letters").click()
    await expect(page.get_by_text("1 dead letter in 1 group.")).to_be_visible()
    assert list(api.admin.dead) == [message_id(1900)]


async def test_purge_says_why_and_can_be_tried_again_when_it_is_refused(
    page: Page, api: ApiBench
) -> None:
    """The dialog stays open with the reason in it."""
    await visit(page, api, "dead-letters")
    await page.get_by_role("button", name="Purge all").click()
    dialog = page.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Purge 32 dead letters")
    api.admin.refusal = Refusal(503, "disk_full", "There is no space for the log. Make space.")
    await confirm.click()
    await expect(dialog).to_contain_text("Make space.")
    api.admin.refusal = None
    await confirm.click()
    await expect(page.get_by_text("There are no dead letters.")).to_be_visible()
    assert api.admin.dead == {}


async def test_redrive_goes_on_when_its_dialog_is_closed(
    page: Page, api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rate it takes long: nobody has to wait in front of it, and the end is told."""
    going, may_end = asyncio.Event(), asyncio.Event()
    redrive = api.admin.redrive

    async def redrive_slowly(which: LetterFilter, *, rate: int | None = None) -> Moved:
        going.set()
        await may_end.wait()
        return await redrive(which, rate=rate)

    monkeypatch.setattr(api.admin, "redrive", redrive_slowly)
    await visit(page, api, "dead-letters")
    await page.get_by_role("button", name="Redrive all").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Redrive 32 dead letters").click()
    await expect(dialog).to_contain_text("Working…")
    await asyncio.wait_for(going.wait(), PATIENCE_MS / 1000)
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_be_hidden()
    may_end.set()
    await expect(page.get_by_text("32 dead letters redriven")).to_be_visible()


# Live events


async def test_events_are_shown_as_they_happen_and_not_while_paused(
    page: Page, api: ApiBench
) -> None:
    """How many were not shown is said."""
    await visit(page, api, "events")
    await expect(page.locator("#event-status")).to_contain_text("Listening.")
    deliver(api, range(300, 301))
    rows = page.locator("#event-table tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("HTTP 200 at attempt 1, 12 ms")
    await page.get_by_role("button", name="Pause").click()
    deliver(api, range(301, 304))
    await expect(page.locator("#event-status")).to_have_text("Paused; 6 events not shown.")
    await expect(rows).to_have_count(2)
    await page.get_by_role("button", name="Resume").click()
    deliver(api, range(304, 305))
    await expect(rows).to_have_count(4)


async def test_events_are_bounded_and_filtered(page: Page, api: ApiBench) -> None:
    """Two hundred rows, however many come."""
    await visit(page, api, "events")
    await expect(page.locator("#event-status")).to_contain_text("Listening.")
    await page.get_by_label("Show").select_option("accepted")
    deliver(api, range(300, 550))
    rows = page.locator("#event-table tbody tr")
    await expect(rows).to_have_count(200)
    await page.get_by_label("Filter by destination, function or id").fill("b.example")
    api.admin.put(message(900, to="b"))
    api.admin.put(message(901))
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("/hooks/900?x=%2F")


async def test_events_are_left_alone_when_another_section_is_shown(
    page: Page, api: ApiBench
) -> None:
    """Readers are few: a page that shows no events takes no place."""
    await visit(page, api, "events")
    await expect(page.locator("#event-status")).to_contain_text("Listening.")
    assert len(api.admin.listeners) == 1
    await page.get_by_role("link", name="Overview").click()
    await until(lambda: not api.admin.listeners, page)


async def until(holds: Callable[[], bool], page: Page) -> None:
    """Wait for something at the server, as long as for something on a page."""
    for _ in range(PATIENCE_MS // 50):
        if holds():
            return
        await page.wait_for_timeout(50)
    raise AssertionError("it never came to hold")


# Everybody


async def test_purge_is_done_with_the_keyboard_alone(page: Page, api: ApiBench) -> None:
    """From the top of the page, with Tab and Enter; the focus is always seen, and stays inside the
    dialog."""
    await visit(page, api)
    await expect(figure(page, "Backlog")).to_have_text("3")
    await tab_to(page, "Skip to content")
    await tab_to(page, "Dead letters")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Dead letters")).to_be_focused()
    await expect(page.get_by_role("button", name="Purge all")).to_be_visible()
    await tab_to(page, "Purge: https://b.example, timed out")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Purge 2 dead letters?")).to_be_visible()
    for _ in range(4):
        await page.keyboard.press("Tab")
        inside = (
            "document.activeElement === document.body || dialog.contains(document.activeElement)"
        )
        assert await page.evaluate(inside)
    await tab_to(page, "Purge 2 dead letters")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("30 dead letters in 1 group.")).to_be_visible()
    await expect(page.get_by_role("heading", name="Dead letters")).to_be_focused()


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until something with a name has the focus; an outline must show where it is."""
    look = """(() => {
        const one = document.activeElement;
        const style = getComputedStyle(one).outlineStyle;
        return [one.getAttribute("aria-label") ?? one.textContent, style];
    })()"""
    for _ in range(60):
        await page.keyboard.press("Tab")
        text, outline = await page.evaluate(look)
        if text == name:
            assert outline == "solid"
            return
    raise AssertionError(f"Tab never leads to {name}")


async def test_skip_link_leads_to_the_content(page: Page, api: ApiBench) -> None:
    """Without another section being shown."""
    await visit(page, api, "lanes")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await expect(page.get_by_role("heading", name="Lanes")).to_be_visible()


async def test_tables_have_captions_and_scoped_headers(page: Page, api: ApiBench) -> None:
    """Screen readers say what a cell is of."""
    for section in ("lanes", "dead-letters", "dead-letters/list", f"messages/{message_id(1001)}"):
        await visit(page, api, section)
        await expect(page.locator("table:visible tbody tr").first).to_be_visible()
        for table in await page.locator("table:visible").all():
            assert await table.locator("caption").inner_text()
            assert await table.locator("th:not([scope])").count() == 0
            assert await table.locator("th[scope=col]").count() > 1


@pytest.mark.parametrize(
    "section", [f"messages/{message_id(1032)}", "dead-letters/list", "dead-letters", "events"]
)
async def test_hostile_text_is_shown_as_text(page: Page, api: ApiBench, section: str) -> None:
    """No script of a message runs and no element of it comes to be, wherever it is shown; what
    turns text around is spelled out."""
    await visit(page, api, section)
    if section == "events":
        await expect(page.locator("#event-status")).to_contain_text("Listening.")
        api.admin.emit(
            "accepted", message_id(1), HOSTILE, method="POST", target=f"/{HOSTILE}", size_bytes=1
        )
    elif section == "dead-letters":
        api.admin.dead[message_id(1032)] = hostile_group()
        await page.reload()
    await expect(page.get_by_text("<script>").first).to_be_visible()
    await expect(page.get_by_text("\\u{202e}").first).to_be_visible()
    assert await page.locator("main img, main script, main b").count() == 0
    assert "ran" not in await page.title()


def hostile_group() -> Any:
    """A dead letter to a destination that no parser would have let in."""
    made = hostile_letter(1032)
    return replace(made, letter=replace(made.letter, destination=HOSTILE))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1025, 1280])
async def test_page_fits_the_screen_whatever_its_width(
    api: ApiBench, browser: Browser, pictures: Path, *, width: int, scheme: Any
) -> None:
    """No section scrolls sideways, on a phone or a desk, in the light or the dark."""
    api.admin.bury(long_letter(2000))
    context = await browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = await context.new_page()
    for section, shown in SECTIONS.items():
        await visit(page, api, section)
        await expect(page.locator("main > section:visible")).to_have_count(1)
        await expect(page.locator("#health-text")).to_contain_text("Ready")
        await expect(page.get_by_role("main")).to_contain_text(shown)
        assert await page.evaluate(OVERFLOW) == 0, section
        name = f"{section.replace('/', '-')}-{width}-{scheme}.png"
        await page.screenshot(path=pictures / name)
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == {
        "light": "rgb(246, 247, 249)",
        "dark": "rgb(18, 22, 28)",
    }[scheme]  # fmt: skip
    await context.close()


# Decisions


DECISIONS: list[tuple[str, str, str, Any]] = [
    ("format", "justAfter", '"2026-01-31T12:00:00.000001Z"', "2026-01-31T12:00:00.000002Z"),
    ("format", "justAfter", '"2026-01-31T23:59:59.999999Z"', "2026-02-01T00:00:00.000000Z"),
    ("format", "duration", "0.0004", "400 µs"),
    ("format", "duration", "90", "2 min"),
    ("format", "bytes", "1", "1 byte"),
    ("format", "bytes", "1536", "1.5 KiB"),
    ("format", "rate", "null", "–"),
    ("format", "rate", "12345.6", "12,346"),
    ("format", "visible", '"a\\u202eb\\u0000"', "a\\u{202e}b\\u{0}"),
    ("series", "quantile", "0.5, [[1, 0], [2, 0], [Infinity, 0]], [[1, 0], [2, 4], [Infinity, 4]]",
     1.5),
    ("series", "quantile", "0.9, [[1, 5], [Infinity, 5]], [[1, 5], [Infinity, 9]]", 1),
    ("series", "quantile", "0.5, [[1, 5], [Infinity, 5]], [[1, 5], [Infinity, 5]]", None),
    ("series", "quantile", "0.5, null, [[1, 5], [Infinity, 5]]", None),
]  # fmt: skip


async def test_scripts_decide_as_written(page: Page, api: ApiBench) -> None:
    """The pure parts, by examples. In one page: opening one takes longer than all of them."""
    await visit(page, api)
    for module, name, given, expected in DECISIONS:
        call = f"import('/dashboard/{module}.js').then(one => one.{name}({given}))"
        assert await page.evaluate(call) == expected, call


async def test_events_are_cut_from_pieces_of_any_size(page: Page, api: ApiBench) -> None:
    """A stream arrives as the network likes."""
    await visit(page, api)
    cut = """import('/dashboard/events.js').then(({Cutter}) => {
        const cutter = new Cutter();
        const text = ': dropped 3\\n\\nevent: dead\\ndata: {"a": "b: c"}\\n\\n' +
            ': alive\\n\\nevent: x';
        return [...text].flatMap(one => cutter.cut(one)).map(one => Object.values(one).join("|"));
    })"""
    assert await page.evaluate(cut) == ["||dropped 3", 'dead|{"a": "b: c"}|', "||alive"]

"""The dashboard in a browser: what operators see and do there.

Every test also holds the page to what the fixture `page` looks at: no request to another host, no
violation of the policy, no error of a script.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from dispatcher.errors import Refusal
from dispatcher.queue.admin.surface import Course, LetterFilter, MessageState, Moved
from dispatcher.testing.admin import dead_call, letter, message_id
from dispatcher.testing.api import ApiBench
from tests.browser.conftest import KEY, PATIENCE_MS
from tests.browser.serving import (
    HOSTILE,
    ORDER,
    STRANGE,
    hostile_letter,
    long_letter,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is shown once a section is.
SECTIONS = {
    "overview": "Waiting",
    "messages": "Messages that wait, the oldest first",
    "jobs": "No job has run",
    "audit": "Nothing was done yet",
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
# How much wider a page is than its window.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def visit(page: Page, bench: ApiBench, section: str = "") -> None:
    """Open a section, and wait for what it shows."""
    await page.goto(f"{bench.url}/{f'#/{section}' if section else ''}")


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


# Search


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
        await page.get_by_role("link", name="Download body").click()
    saved = await (await download.value).path()
    assert await asyncio.to_thread(saved.read_bytes) == bytes(range(256))


# Dead letters


async def test_filter_of_dead_letters_stands_in_the_address(page: Page, api: ApiBench) -> None:
    """It narrows groups, leads to their letters and back, and can be sent to others."""
    made = letter(2001, to="c", status=404, reason="rejected")
    options = {"order_key": "k"}
    api.admin.bury(replace(made, letter=replace(made.letter, options=options, method="PUT")))
    await visit(page, api, "dead-letters")
    await page.get_by_label("Reason").select_option("rejected for good")
    await expect(page).to_have_url(re.compile("#/dead-letters\\?reason=rejected$"))
    await expect(page.get_by_text("1 dead letter in 1 group.")).to_be_visible()
    await page.get_by_text("More filters").click()
    await page.locator("#dead-letters").get_by_label("Order key").fill("k")
    await page.locator("#dead-letters").get_by_label("Path begins with").fill("/hooks/")
    await page.get_by_label("Died after (UTC)").fill("2026-01-01T00:00:01")
    await page.get_by_role("button", name="Show", exact=True).click()
    rows = page.locator("#dead-result tbody tr")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("PUT https://c.example/hooks/2001")
    address = page.url
    assert address.endswith(
        "#/dead-letters/list?reason=rejected&order_key=k&target=%2Fhooks%2F"
        "&after=2026-01-01T00%3A00%3A01Z"
    )
    await page.get_by_role("link", name="Clear filter").click()
    await expect(rows).to_have_count(33)
    await page.goto(address)
    await expect(rows).to_have_count(1)
    await expect(page.locator("#dead-letters").get_by_label("Order key")).to_have_value("k")
    await expect(page.get_by_label("Died after (UTC)")).to_have_value("2026-01-01T00:00:01")
    await page.get_by_role("button", name="Redrive all of these").click()
    await page.get_by_role("button", name="Redrive 1 dead letter").click()
    await expect(page.get_by_text("1 dead letter redriven")).to_be_visible()
    assert len(api.admin.dead) == 32


async def test_secrets_are_shown_when_they_are_asked_for(page: Page, api: ApiBench) -> None:
    """Until then neither the headers nor the command of curl have them."""
    made = letter(2001)
    secret = (b"Authorization", b"Bearer s3cret")
    api.admin.bury(replace(made, headers=[secret, *made.headers]))
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await visit(page, api, f"messages/{message_id(2001)}")
    result = page.locator("#search-result")
    await expect(result).to_contain_text("Bearer ***")
    await expect(result).not_to_contain_text("s3cret")
    for is_shown in (False, True):
        if is_shown:
            await page.get_by_role("button", name="Show secrets").click()
            await expect(result).to_contain_text("Bearer s3cret")
        await page.get_by_role("button", name="Copy as curl").click()
        masked = "" if is_shown else ", with secrets masked"
        await expect(page.get_by_text(f"The command is copied{masked}.")).to_be_visible()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied.count("https://a.example/hooks/2001?x=%2F") == 1
        assert ("s3cret" in copied) is is_shown


async def test_dead_letter_is_changed_as_it_is_redriven(page: Page, api: ApiBench) -> None:
    """Only what was changed is sent; a secret that is left masked stays, and line ends do."""
    made = letter(2001, body=b"first\r\nsecond\r\n")
    secret = (b"Authorization", b"Bearer s3cret")
    api.admin.bury(replace(made, headers=[secret, *made.headers]))
    await visit(page, api, f"messages/{message_id(2001)}")
    edit = page.get_by_role("button", name="Edit and redrive")
    await edit.click()
    form = page.locator("#edit-form")
    await expect(form.get_by_label("Destination")).to_be_focused()
    await form.get_by_role("button", name="Cancel").click()
    await expect(form).to_have_count(0)
    await expect(edit).to_be_focused()
    await edit.click()
    headers = form.get_by_label("Headers, one a line")
    shown = await headers.input_value()
    assert shown.startswith("Authorization: Bearer ***\n")
    send = form.get_by_role("button", name="Redrive with these changes")
    await headers.fill("no header")
    await send.click()
    await expect(form).to_contain_text("is no header: expected a name, a colon and a value")
    await headers.fill(shown.replace("X-Name: ", "X-Name: Dr. "))
    await form.get_by_label("Destination").fill("https://c.example")
    await form.get_by_label("Body", exact=True).fill("first\nthird\n")
    await send.click()
    await expect(page.get_by_text("1 dead letter redriven")).to_be_visible()
    (done,) = api.admin.edits
    assert str(done.destination) == "https://c.example"
    assert done.lines is not None
    assert b"Authorization: Bearer s3cret\r\n" in done.lines
    assert b"X-Name: Dr. J\xfcrgen\r\n" in done.lines
    assert done.body is not None
    assert b"".join(done.body) == (b"first\r\nthird\r\n")


async def test_binary_body_is_changed_by_a_file_alone(
    page: Page, api: ApiBench, tmp_path: Path
) -> None:
    """A text field would change what nobody meant to."""
    api.admin.bury(letter(2001, body=bytes(range(256))))
    await visit(page, api, f"messages/{message_id(2001)}")
    await page.get_by_role("button", name="Edit and redrive").click()
    form = page.locator("#edit-form")
    await expect(form).to_contain_text("Its 256 bytes stay as they are, unless there is a file.")
    await expect(form.get_by_label("Body", exact=True)).to_have_count(0)
    (tmp_path / "new.bin").write_bytes(b"\xff" * 70_000)
    await form.get_by_label("Body from a file").set_input_files(tmp_path / "new.bin")
    await form.get_by_role("button", name="Redrive with these changes").click()
    await expect(page.get_by_text("1 dead letter redriven")).to_be_visible()
    (done,) = api.admin.edits
    assert (done.destination, done.lines) == (None, None)
    assert done.body is not None
    assert b"".join(done.body) == b"\xff" * 70_000


async def test_command_of_curl_can_be_copied_by_hand(page: Page, api: ApiBench) -> None:
    """Browsers keep the clipboard from pages that came without TLS from another machine."""
    await page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await visit(page, api, f"messages/{message_id(1001)}")
    await page.get_by_role("button", name="Copy as curl").click()
    dialog = page.get_by_role("dialog", name="Copy as curl")
    area = dialog.get_by_label("Command")
    await expect(area).to_have_value(re.compile("^curl -i"))
    await dialog.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.get_by_text("The command is copied.")).to_be_visible()


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("text/plain; charset=ISO-8859-1", "Gr\xfc\xdfe".encode("latin-1"), "Text in ISO-8859-1"),
        ('text/xml; charset="utf-16"', "Gr\xfc\xdfe".encode("utf-16"), "Text in UTF-16LE"),
        ("text/plain; charset=none", "Gr\xfc\xdfe".encode(), "Text in UTF-8"),
        ("", b"a" + "\xfc".encode() * 40_000, "The first 64 KiB are shown"),
    ],
)
async def test_body_is_shown_in_its_charset(
    page: Page, api: ApiBench, content_type: str, body: bytes, shown: str
) -> None:
    """That of its header or of its first bytes, and UTF-8 where those say nothing right."""
    made = letter(2001, body=body)
    api.admin.bury(replace(made, headers=[(b"Content-Type", content_type.encode())]))
    await visit(page, api, f"messages/{message_id(2001)}")
    result = page.locator("#search-result")
    await expect(result).to_contain_text(shown)
    text = page.get_by_role("region", name="Body as text")
    await expect(text).to_contain_text("\xfc")
    await page.get_by_role("button", name="Show bytes").click()
    await expect(page.get_by_role("region", name="Body as hexadecimal digits")).to_be_visible()
    await page.get_by_role("button", name="Show text").click()
    await expect(text).to_be_visible()


async def test_body_of_many_megabytes_is_there_at_once(page: Page, locked: ApiBench) -> None:
    """Only its beginning is asked for, and all of it when it is downloaded."""
    body = b"0123456789abcdef" * 400_000
    locked.admin.bury(letter(2001, body=body))
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    await visit(page, locked, f"messages/{message_id(2001)}")
    await page.get_by_label("API key").fill(KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Body, 6.1 MiB")).to_be_visible()
    letters = [url.partition("/v1/")[2] for url in asked if "/v1/dead-letters" in url]
    path = f"dead-letters/{message_id(2001)}"
    assert letters == [f"{path}?body=false", f"{path}/body?limit=65536"]
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download body").click()
    saved = await (await download.value).path()
    assert await asyncio.to_thread(saved.read_bytes) == body


async def test_dead_letters_are_found_and_purged_by_label(page: Page, api: ApiBench) -> None:
    """Those with another one, and those without, stay."""
    for number, label in ((2001, "late"), (2002, "early"), (2003, "late")):
        made = letter(number)
        api.admin.bury(replace(made, letter=replace(made.letter, label=label)))
    before = len(api.admin.dead)
    await visit(page, api, "dead-letters")
    await page.locator("#dead-letters").get_by_label("Label", exact=True).fill("late")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("2 dead letters in 1 group.")).to_be_visible()
    await page.get_by_role("link", name="Letters", exact=True).click()
    rows = page.locator("#dead-result tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("late")
    await page.get_by_role("button", name="Purge all of these").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Purge 2 dead letters").click()
    await expect(page.locator("#dead-result")).to_contain_text("There are no such dead letters.")
    assert len(api.admin.dead) == before - 2
    assert message_id(2002) in api.admin.dead


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


async def test_group_is_taken_alone_and_all_of_a_filter_say_what_they_are(
    page: Page, api: ApiBench
) -> None:
    """A group is of a destination, a cause and a reason; the dialog lists those of several."""
    api.admin.bury(letter(1500, reason="rejected"))
    await visit(page, api, "dead-letters?destination=https://a.example")
    await page.get_by_role("button", name="Purge all of these").click()
    dialog = page.get_by_role("dialog", name="Purge 31 dead letters?")
    await expect(dialog).to_contain_text(
        "1 dead letter to https://a.example: HTTP 503, rejected for good"
    )
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Purge: https://a.example, HTTP 503").last.click()
    await page.get_by_role("button", name="Purge 1 dead letter").click()
    await expect(page.get_by_text("30 dead letters in 1 group.")).to_be_visible()
    assert message_id(1500) not in api.admin.dead


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

    async def redrive_slowly(which: LetterFilter, *, course: Course | None = None) -> Moved:
        going.set()
        await may_end.wait()
        return await redrive(which, course=course)

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


# Everybody


async def test_purge_is_done_with_the_keyboard_alone(page: Page, api: ApiBench) -> None:
    """From the top of the page, with Tab and Enter; the focus is always seen, and stays inside the
    dialog."""
    await visit(page, api)
    await expect(page.locator("#health-text")).to_have_text("Ready")
    await tab_to(page, "Skip to content")
    await tab_to(page, "Dead letters")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Dead letters", level=2)).to_be_focused()
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
    await expect(page.get_by_role("heading", name="Dead letters", level=2)).to_be_focused()


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
    await expect(page.get_by_role("heading", name="Destinations")).to_be_visible()


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
]  # fmt: skip


async def test_scripts_decide_as_written(page: Page, api: ApiBench) -> None:
    """The pure parts, by examples. In one page: opening one takes longer than all of them."""
    await visit(page, api)
    for module, name, given, expected in DECISIONS:
        call = f"import('/dashboard/{module}.js').then(one => one.{name}({given}))"
        assert await page.evaluate(call) == expected, call

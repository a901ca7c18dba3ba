"""`dispatcher explain`, for messages and calls; and `message` and `cancel`, older names of what
stands under `messages`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from dispatcher.cli import output, where
from dispatcher.cli.client import Json
from dispatcher.cli.errors import BadUsage, CommandError, NotFound, RefusedNow
from dispatcher.cli.options import AsJson, KeyFile, MessageId, MessageIds, MessageOrCallId, Url, Yes
from dispatcher.cli.standing import last_error, standing
from dispatcher.cli.tables import Moment

_CALL: Final = re.compile(r"[0-9a-f]{12}[89a-f][0-9a-f]{15}")
"""An id of a call: its number, the last 16 digits, has the top bit set."""


def message(
    message_id: MessageId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show where a message stands."""
    found = where.api(url, key_file).get(path_of(message_id))
    if as_json:
        output.print_json(found)
        return
    print_message(found)


def print_message(found: Json) -> None:
    """Print where a message stands."""
    output.print_record(
        {
            "id": found.get("id"),
            "state": standing(found),
            **_kept_by(found),
            "destination": found.get("destination"),
            "request": f"{found.get('method')} {found.get('target')}",
            "accepted": Moment(found.get("accepted_at")),
            "attempts": found.get("attempts"),
            "next attempt": Moment(found.get("next_attempt_at")),
            "last error": last_error(found),
            **output.options(found.get("options")),
        }
    )


def _kept_by(found: Json) -> dict[str, object]:
    """What it waits for, where that is another thing than its turn or its time."""
    if standing(found) == found.get("state"):
        return {}
    return {"reason": found.get("reason"), "until": Moment(found.get("until"))}


def explain(
    message_or_call_id: MessageOrCallId,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why a message is not delivered yet, or why a call has not ended yet."""
    wanted = message_or_call_id
    path = f"/v1/calls/{wanted}" if _CALL.fullmatch(wanted) else path_of(wanted)
    found = where.api(url, key_file).get(f"{path}/explain")
    if as_json:
        output.print_json(found)
        return
    print(output.clean(found.get("message")))
    output.print_record(
        {
            "state": found.get("state"),
            "reason": found.get("reason"),
            "until": Moment(found.get("until")),
            "next attempt": Moment(found.get("expected_at")),
        }
    )


def cancel(
    message_ids: MessageIds,
    yes: Yes = False,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel messages: they are never delivered from then on.

    Those that cannot be cancelled are named at the end; the others are. Who names messages is not
    asked: --yes is taken as by the commands that ask.
    """
    del yes
    api = where.api(url, key_file)
    failed: list[CommandError] = []
    for message_id in dict.fromkeys(message_ids):
        try:
            api.delete(path_of(message_id))
        except (NotFound, RefusedNow, BadUsage) as error:
            failed.append(error)
            continue
        if as_json:
            output.print_json({"id": message_id, "cancelled": True})
        else:
            print(f"{output.clean(message_id)} is cancelled.")
    for one in failed[:-1]:
        output.print_note(str(one))
    if failed:
        raise failed[-1]


def path_of(message_id: str) -> str:
    """Return the path of a message."""
    return f"/v1/messages/{quote(message_id, safe='')}"

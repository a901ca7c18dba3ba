"""`dispatcher message`, `explain` and `cancel`: one message."""

from __future__ import annotations

from urllib.parse import quote

from dispatcher.cli import output, where
from dispatcher.cli.errors import BadUsage, CommandError, NotFound, RefusedNow
from dispatcher.cli.options import AsJson, KeyFile, MessageId, MessageIds, Url


def message(
    message_id: MessageId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Show where a message stands."""
    found = where.api(url, key_file).get(path_of(message_id))
    if as_json:
        output.print_json(found)
        return
    output.print_record(
        {
            "id": found.get("id"),
            "state": found.get("state"),
            "destination": found.get("destination"),
            "request": f"{found.get('method')} {found.get('target')}",
            "accepted": output.instant(found.get("accepted_at")),
            "attempts": found.get("attempts"),
            "next attempt": output.instant(found.get("next_attempt_at")),
            "last error": found.get("last_error"),
        }
    )


def explain(
    message_id: MessageId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Say why a message is not delivered yet."""
    found = where.api(url, key_file).get(f"{path_of(message_id)}/explain")
    if as_json:
        output.print_json(found)
        return
    print(output.clean(found.get("message")))
    output.print_record(
        {
            "state": found.get("state"),
            "reason": found.get("reason"),
            "until": output.instant(found.get("until")),
            "next attempt": output.instant(found.get("expected_at")),
        }
    )


def cancel(
    message_ids: MessageIds, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Cancel messages: they are never delivered from then on.

    Those that cannot be cancelled are named at the end; the others are.
    """
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

"""`dispatcher message`, `explain` and `cancel`: one message."""

from __future__ import annotations

from urllib.parse import quote

from dispatcher.cli import output, where
from dispatcher.cli.options import AsJson, KeyFile, MessageId, Url


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
    message_id: MessageId, url: Url = None, key_file: KeyFile = None, as_json: AsJson = False
) -> None:
    """Cancel a message: it is never delivered from then on."""
    where.api(url, key_file).delete(path_of(message_id))
    if as_json:
        output.print_json({"id": message_id, "cancelled": True})
    else:
        print(f"{output.clean(message_id)} is cancelled.")


def path_of(message_id: str) -> str:
    """Return the path of a message."""
    return f"/v1/messages/{quote(message_id, safe='')}"

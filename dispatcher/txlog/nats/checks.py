"""Which servers and which streams are refused, and why. Pure.

A log is only as durable as its servers: 202 means that a batch is on stable storage, so a server
that syncs now and then, and not before it answers, is none for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dispatcher.txlog.nats.batch import MOST_BYTES

_NEEDED_VERSION: Final = (2, 11)
"""The first one with batched direct get."""


def wrong_with_server(varz: Mapping[str, Any]) -> str | None:
    """Say why a server cannot keep logs, of what its `/varz` says; None: it can.

    `sync_interval` says nothing: it reads two minutes either way.
    """
    name = varz.get("server_name") or varz.get("server_id") or "unknown"
    version = str(varz.get("version", ""))
    if _numbers(version) < _NEEDED_VERSION:
        needed = ".".join(map(str, _NEEDED_VERSION))
        return f"NATS server {name} is version {version or 'unknown'}: {needed} is needed at least"
    jetstream = varz.get("jetstream") or {}
    settings = jetstream.get("config") or {}
    if not settings:
        return f"NATS server {name} has no JetStream: set `jetstream` in its configuration"
    if settings.get("sync_always") is not True:
        return (
            f"NATS server {name} answers before a message is on stable storage: set"
            " `sync_interval: always` in `jetstream` of its configuration"
        )
    if int(varz.get("max_payload", 0)) < MOST_BYTES:
        return f"NATS server {name} takes too small messages: set `max_payload: 8MB`, or 1 MB"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit())


def configuration(
    name: str, subjects: Sequence[str], *, replicas: int, max_bytes: int
) -> dict[str, object]:
    """Return the configuration of a stream that is a log."""
    return {
        "name": name,
        "subjects": list(subjects),
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_bytes": max_bytes,
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "deny_delete": True,
        "allow_direct": True,
    }


_MAY_DIFFER: Final = frozenset({"name", "subjects", "max_bytes"})


def wrong_in(found: Mapping[str, Any], wanted: Mapping[str, object]) -> str | None:
    """Say which setting of a stream loses records, or loses them with one machine; None: none."""
    if sorted(found.get("subjects") or ()) != sorted(wanted["subjects"]):  # type: ignore[call-overload]
        return f"its subjects are {found.get('subjects')}, they have to be {wanted['subjects']}"
    for setting, value in wanted.items():
        if setting not in _MAY_DIFFER and found.get(setting) != value:
            return f"its `{setting}` is {found.get(setting)!r}, it has to be {value!r}"
    for setting in ("mirror", "sources", "republish", "subject_transform"):
        if found.get(setting):
            return f"it has `{setting}`, which a log must not have"
    return None

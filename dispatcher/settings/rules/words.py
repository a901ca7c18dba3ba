"""Rules and groups as they may be shown: plain values under the names of the file, no secret."""

from __future__ import annotations

from typing import Any

from dispatcher.core.callbacks import place_of
from dispatcher.core.rules.notify import Kind, Notify
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Group, Rules
from dispatcher.core.units import duration_text
from dispatcher.settings.rules.secrets import HIDDEN
from dispatcher.settings.sources import DESTINATION, GROUP, NOTIFY


def described(rules: Rules) -> dict[str, list[dict[str, Any]]]:
    """Return the tables in their order, each with the keys that were given."""
    return {
        DESTINATION: [_rule(rule) for rule in rules.rules],
        GROUP: [_group(group) for group in rules.groups],
        NOTIFY: [_notify(one) for one in rules.notify],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    every: dict[str, Any] = {
        "match": str(rule.match),
        "rate": None if rule.rate is None else str(rule.rate),
        "burst": None if rule.rate is None else rule.rate.burst,
        "concurrency": rule.concurrency,
        "timeout": _duration(rule.timeout_ms),
        "retries": rule.retries,
        "retry_delay": _duration(rule.retry_delay_ms),
        "retry_on": None if rule.retry_on is None else sorted(rule.retry_on),
        "ack": sorted(rule.ack) or None,
        "headers": {header.name: header.value.source for header in rule.headers} or None,
        "sign": None
        if rule.sign is None
        else {
            "kind": "standard-webhooks",
            "secrets": [secret.source for secret in rule.sign.secrets],
        },
        "ca": None if rule.ca is None else rule.ca.path,
        "cert": None if rule.cert is None else rule.cert.path,
        "key": None if rule.key is None else rule.key.path,
    }
    return {key: value for key, value in every.items() if value is not None}


def _duration(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else duration_text(milliseconds)


def _group(group: Group) -> dict[str, Any]:
    return {"name": group.name, "members": [str(member) for member in group.members]}


def _notify(one: Notify) -> dict[str, Any]:
    """Of the URL no more than where it leads: who knows the rest may write there."""
    every: dict[str, Any] = {
        "on": [kind.value for kind in one.on],
        "url": one.url.source
        if one.url.source != HIDDEN
        else f"{place_of(one.url.value.decode('ascii')).destination}/…",
        "format": one.format.value,
        "at_most": str(one.at_most),
        "destination": None if one.match is None else str(one.match),
        "for": duration_text(one.for_ms) if Kind.DESTINATION_FAILING in one.on else None,
        "below": one.below.text if Kind.DISK_LOW in one.on else None,
        "headers": {header.name: header.value.source for header in one.headers} or None,
    }
    return {key: value for key, value in every.items() if value is not None}

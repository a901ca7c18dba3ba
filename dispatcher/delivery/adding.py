"""What rules add to a request: headers, a signature, and with what its connection is secured.

It is added to every attempt anew, by the rules that are in force then, and is in nothing that is
stored or shown.
"""

from __future__ import annotations

import re
from typing import Final

from dispatcher.core.message import RUN, Message
from dispatcher.core.rules.rule import Rule
from dispatcher.core.rules.table import Rules
from dispatcher.delivery.trust import Trust
from dispatcher.errors import ConfigError
from dispatcher.protocol import webhooks

_SIGNATURES: Final = (webhooks.ID, webhooks.TIMESTAMP, webhooks.SIGNATURE)


class Addition:
    """What one rule adds. Its values are secret, and not in its `repr`.

    `trust`  with what connections to `https` are secured, None: as the system says.
    """

    __slots__ = ("_lines", "_named", "_replaced", "_secrets", "trust")

    def __init__(self, rule: Rule, trust: Trust | None = None) -> None:
        self.trust = trust
        self._named = [
            (_lines_of(header.name), b"%b: %b\r\n" % (header.name.encode(), header.value.value))
            for header in rule.headers
        ]
        self._lines = b"".join(line for _, line in self._named)
        secrets = () if rule.sign is None else rule.sign.secrets
        self._secrets = [webhooks.Secret(secret.value) for secret in secrets]
        names = [header.name for header in rule.headers]
        self._replaced = _lines_of(*names, *(_SIGNATURES if secrets else ()))

    def __repr__(self) -> str:
        return f"<Addition of {len(self._named)} headers, {len(self._secrets)} secrets>"

    def signing(self, message: Message, now_s: int) -> webhooks.Signing | None:
        """Begin to sign an attempt to deliver a message at this time (seconds since the epoch);
        None where it is not signed. A run of a call has a signature of its own."""
        if not self._secrets or message.kind == RUN:
            return None
        return webhooks.Signing(self._secrets, message.wire_id.decode("ascii"), now_s)

    def head(self, message: Message, signing: webhooks.Signing | None) -> bytes:
        """The head of a message as it is sent: what the rule says is in place of what the caller
        said, and follows the rest. `signing`: that of the whole body."""
        if message.kind == RUN:
            return self._head_of_run(message.head)
        head = self._replaced.sub(b"", message.head) + self._lines
        return head if signing is None else head + signing.signed.head

    def _head_of_run(self, head: bytes) -> bytes:
        """What the server itself says of a run stays: its signature covers that."""
        return head + b"".join(line for named, line in self._named if not named.search(head))


class Additions:
    """What the rules add that are in force."""

    __slots__ = ("_by_rule", "_rules")

    def __init__(self, rules: Rules, by_rule: dict[int, Addition]) -> None:
        self._rules = rules
        self._by_rule = by_rule

    @staticmethod
    def load(rules: Rules, before: Additions | None = None) -> Additions | None:
        """Read the certificates that rules name; None where no rule adds anything. Connections that
        were opened with the same as in `before` stay in use. Blocks: files are read.

        Raises:
            ConfigError: naming every rule whose certificates are not what they should be.
        """
        trusts = {} if before is None else before._trusts()
        made: dict[int, Addition] = {}
        mistakes: list[str] = []
        for number, rule in enumerate(rules.rules, start=1):
            try:
                trust = Trust.of_rule(rule, trusts)
            except ConfigError as error:
                mistakes.append(f"destination {number} ({rule.match}): {error}")
                continue
            if rule.headers or rule.sign is not None or trust is not None:
                made[id(rule)] = Addition(rule, trust)
        if mistakes:
            raise ConfigError("; ".join(mistakes))
        return Additions(rules, made) if made else None

    def of(self, message: Message) -> Addition | None:
        """What is added to a message, or None."""
        rule = self._rules.of_message(message)
        return None if rule is None else self._by_rule.get(id(rule))

    def _trusts(self) -> dict[bytes, Trust]:
        every = (one.trust for one in self._by_rule.values())
        return {trust.mark: trust for trust in every if trust is not None}


def _lines_of(*names: str) -> re.Pattern[bytes]:
    """What finds the lines with these names, each with the line end before it; the first line of a
    head is none. Without a name it finds nothing."""
    some = b"|".join(re.escape(name.encode("ascii")) for name in names)
    return re.compile(rb"\r\n(?:%b):[^\n]*(?=\r\n)" % (some or rb"(?!)"), re.IGNORECASE)

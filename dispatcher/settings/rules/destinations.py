"""One `[[destination]]` table."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NoReturn

from dispatcher.core.rate import RATE_EXPECTED, Rate, parse_rate
from dispatcher.core.rules.match import Match
from dispatcher.core.rules.rule import PemFile, Rule, Sign
from dispatcher.settings import values
from dispatcher.settings.rules.headers import read_headers
from dispatcher.settings.rules.reading import Mistakes, Table
from dispatcher.settings.rules.secrets import read_keys, read_pem

KEYS: Final = (
    "match",
    "rate",
    "burst",
    "concurrency",
    "timeout",
    "retries",
    "retry_delay",
    "retry_on",
    "ack",
    "headers",
    "sign",
    "ca",
    "cert",
    "key",
)
_KIND: Final = "standard-webhooks"
_SIGNED: Final = frozenset(("webhook-id", "webhook-timestamp", "webhook-signature"))
_MOST: Final = 1_000_000
_YEAR_MS: Final = 365 * 24 * 3_600_000


def read_destination(
    given: Mapping[str, Any], environ: Mapping[str, str], mistakes: Mistakes
) -> Rule | None:
    """Read a table; None where something is wrong, which is noted."""
    before = len(mistakes.found)
    table = Table(given, KEYS, mistakes)
    match = table.read("match", read_match)
    if "match" not in given:
        mistakes.add("match is missing: expected host, host:port or *.host, say")
    rule = Rule(
        match or Match(""),
        rate=_rate(table, given, mistakes),
        concurrency=table.read("concurrency", values.whole(1, 100_000)),
        timeout_ms=table.read("timeout", values.milliseconds(1, 3_600_000)),
        retries=table.read("retries", values.whole(0, 1000)),
        retry_delay_ms=table.read("retry_delay", values.milliseconds(0, _YEAR_MS)),
        retry_on=table.read("retry_on", values.status_codes),
        ack=table.read("ack", values.status_codes) or frozenset(),
        headers=table.read_hidden("headers", partial(read_headers, environ=environ)) or (),
        sign=table.read_hidden("sign", partial(_sign, environ=environ)),
        ca=table.read_hidden("ca", read_pem),
        cert=table.read_hidden("cert", read_pem),
        key=table.read_hidden("key", read_pem),
    )
    if len(mistakes.found) == before:
        for sentence in _contradictions(rule):
            mistakes.add(sentence)
    return rule if len(mistakes.found) == before else None


def read_match(raw: object) -> Match:
    """Read which destinations are meant.

    Raises:
        ValueError: with what is expected.
    """
    try:
        return Match.parse(raw.strip() if isinstance(raw, str) else "")
    except ValueError as error:
        raise ValueError(f"[scheme://]host[:port][/prefix]: {error}") from None


def _rate(table: Table, given: Mapping[str, Any], mistakes: Mistakes) -> Rate | None:
    rate = table.read("rate", _plain_rate)
    burst = table.read("burst", values.whole(1, _MOST))
    if "burst" in given and "rate" not in given:
        mistakes.add("burst is the burst of a rate: expected rate beside it")
    if rate is None:
        return None
    return dataclasses.replace(rate, burst=rate.of_a_second if burst is None else burst)


def _plain_rate(raw: object) -> Rate:
    rate = parse_rate(raw.strip()) if isinstance(raw, str) else None
    if rate is None or rate.count > _MOST:
        raise ValueError(RATE_EXPECTED)
    return rate


def _sign(raw: object, environ: Mapping[str, str]) -> Sign:
    if not isinstance(raw, dict) or not {"kind", "secrets"}.issuperset(raw):
        raise ValueError(f'expected {{kind = "{_KIND}", secrets = ["env:NAME"]}}')
    if raw.get("kind") != _KIND:
        raise ValueError(f'expected kind = "{_KIND}"')
    return Sign(read_keys(raw.get("secrets", []), environ))


def _contradictions(rule: Rule) -> Iterator[str]:
    """Yield a sentence for each thing that valid keys of one rule cannot mean together."""
    both = rule.ack & (rule.retry_on or frozenset())
    if both:
        codes = ", ".join(map(str, sorted(both)))
        yield f"{codes} in ack and in retry_on: expected a code in one of them"
    signed = [header.name for header in rule.headers if header.name.lower() in _SIGNED]
    if rule.sign is not None and signed:
        yield f"{', '.join(signed)} in headers: sign writes it"
    if rule.key is not None and rule.cert is None:
        yield "key is the key of a client certificate: expected cert beside it"
    if rule.match.scheme == "http" and (rule.ca or rule.cert):
        yield "ca, cert and key are for https: expected a match without http://"
    yield from _unusable(rule)


def _unusable(rule: Rule) -> Iterator[str]:
    """Try certificates out: better now than with the first attempt."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if rule.ca is not None:
        try:
            context.load_verify_locations(rule.ca.path)
        except (OSError, ValueError) as error:
            yield f"ca={_path(rule.ca)}: OpenSSL does not take it: {_reason(error)}"
    if rule.cert is not None:
        key = None if rule.key is None else rule.key.path
        try:
            context.load_cert_chain(rule.cert.path, key, password=_refuse)
        except (OSError, ValueError) as error:
            beside = "" if rule.key is None else f", key={_path(rule.key)}"
            yield f"cert={_path(rule.cert)}{beside}: OpenSSL does not take it: {_reason(error)}"


def _refuse() -> NoReturn:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password; expected one without")


def _path(file: PemFile) -> str:
    return ascii(file.path)[1:-1]


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not what it should be").lower().replace("_", " ")
    return str(error)

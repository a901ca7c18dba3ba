"""What is wrong with settings, in words: its name, its value unless secret, what is expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dispatcher.settings.sources import SECOND_NAMES, Disagreement, setting_names

if TYPE_CHECKING:
    from dispatcher.settings.model import Settings

_LONGEST_SHOWN = 200


def explain(error: ValidationError, kind: type[Settings]) -> list[str]:
    """Return one sentence for each value that was refused."""
    return [_sentence(detail, kind) for detail in error.errors(include_url=False)]


def contradictions(settings: Settings) -> Iterator[str]:
    """Yield one sentence for each pair of valid settings that cannot both be."""
    if not settings.api_keys and not settings.api_listen.is_loopback:
        yield (
            f"API_LISTEN={settings.api_listen}: expected a loopback address such as "
            f"127.0.0.1:8081, or keys in API_KEYS: without keys everybody who can connect is let in"
        )
    if settings.transaction_log.absolute() == settings.dead_letter.absolute():
        yield (
            f"DEAD_LETTER={settings.dead_letter}: expected another directory than TRANSACTION_LOG's"
        )


def _sentence(detail: Mapping[str, Any], kind: type[Settings]) -> str:
    name = str(detail["loc"][0]) if detail["loc"] else "settings"
    if detail["type"] == "extra_forbidden":
        return f"{name}: no such setting in the TOML file{_meant(name, kind)}"
    value = detail["input"]
    secret = _is_secret(name, kind)
    expected = detail.get("ctx", {}).get("error", detail["msg"])
    if isinstance(value, Disagreement):
        shown = " and ".join(_assignment(key, item, secret=secret) for key, item in value.given)
        return f"{shown} disagree: they are two names of one setting, expected {expected}"
    return f"{_assignment(name, value, secret=secret)}{_also(name)}: expected {expected}"


def _assignment(name: str, value: object, *, secret: bool) -> str:
    if secret:
        return f"{name} (value hidden)"
    text = str(value).encode("unicode_escape").decode("ascii")
    return f"{name}={text[:_LONGEST_SHOWN]}{'…' if len(text) > _LONGEST_SHOWN else ''}"


def _also(name: str) -> str:
    others = [second for second, first in SECOND_NAMES.items() if first == name]
    return f" (also {', '.join(others)})" if others else ""


def _is_secret(name: str, kind: type[Settings]) -> bool:
    fields = kind.model_fields.values()
    return any(not field.repr for field in fields if field.validation_alias == name)


def _meant(name: str, kind: type[Settings]) -> str:
    close = difflib.get_close_matches(name.upper(), setting_names(kind), n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/configuration.md lists them all"

"""A key whose role is misspelt is found, and a secret with colons is not taken for one."""

from __future__ import annotations

import pytest

from dispatcher.core.keys import Role
from dispatcher.settings import Settings
from dispatcher.settings.misspelt_roles import misspelt_roles


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("me:amdin:s", Role.ADMIN),
        ("me:Admin:s", Role.ADMIN),
        ("me: admin :s", Role.ADMIN),
        ("me:administrator:s", Role.ADMIN),
        ("me:readonly:s", Role.READ),
        ("shop:dispatcher:s", Role.DISPATCH),
        ("shop:writer:s", None),
    ],
)
def test_role_is_misspelt_when_a_word_that_is_none_stands_for_it(
    entry: str, meant: Role | None
) -> None:
    """With the nearest role, if one is near."""
    (found,) = misspelt_roles(Settings.load({"API_KEYS": f"other,{entry}"}))
    assert (found.setting, found.key, found.meant) == ("API_KEYS", "key-2", meant)
    assert ":s" not in repr(found)


@pytest.mark.parametrize(
    "entry", ["me:admin:s", "sesame", "a:b", "aa:7f3c:bb", "::s", "a:b:c:d", ":amdin:s"]
)
def test_key_is_not_warned_of_when_it_has_a_role_or_is_a_secret_alone(entry: str) -> None:
    """Colons are nothing strange in a secret."""
    assert misspelt_roles(Settings.load({"API_KEYS": entry})) == []

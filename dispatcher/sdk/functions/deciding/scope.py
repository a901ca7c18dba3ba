"""Whose code is looked into: the user's, and that of installed packages which use the SDK.

Looking into httpx and aiohttp would take more than a second and find nothing.
"""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Final

from dispatcher.sdk.functions.deciding.things import is_a

_SDK: Final = "dispatcher.sdk"
_INSTALLED: Final = tuple({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_STANDARD: Final = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))


def is_looked_into(module: str | None, file: str) -> bool:
    """Whether code of this module, in this file, is worth a look."""
    name = module or ""
    if name == _SDK or name.startswith(f"{_SDK}."):
        return False
    top = name.partition(".")[0]
    if _is_installed(file):
        return _uses_the_sdk(top)
    return top not in sys.stdlib_module_names and not file.startswith(_STANDARD)


def _is_installed(file: str) -> bool:
    return file.startswith(_INSTALLED) or "/site-packages/" in file or "/dist-packages/" in file


@lru_cache(1024)
def _uses_the_sdk(package: str) -> bool:
    """Whether a loaded module of an installed package names the SDK."""
    prefix = f"{package}."
    return any(
        _names_the_sdk(module)
        for name, module in list(sys.modules.items())
        if (name == package or name.startswith(prefix)) and issubclass(type(module), ModuleType)
    )


def _names_the_sdk(module: ModuleType) -> bool:
    return any(_is_of_the_sdk(value) for value in list(vars(module).values()))


def _is_of_the_sdk(value: object) -> bool:
    if is_a(value, ModuleType):
        return value.__name__.startswith(_SDK)
    if is_a(value, type):
        return str(vars(value).get("__module__")).startswith(_SDK)
    if is_a(value, FunctionType):
        return str(value.__module__).startswith(_SDK)
    return str(vars(type(value)).get("__module__")).startswith(_SDK)

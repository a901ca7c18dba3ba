"""Whose state a suspended function has, by the type of its `Any`."""

from __future__ import annotations

from typing import Final

OWN_STATE_TYPE: Final = "type.googleapis.com/dispatcher.sdk.v1.State"
"""A state of `dispatcher.sdk`, which says by itself that it cannot use one (INCOMPATIBLE_STATE)."""

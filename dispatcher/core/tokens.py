"""Tokens of HTTP: names of headers, methods and codings (RFC 9110, 5.6.2)."""

from __future__ import annotations

from typing import Final

TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""To be put into a pattern of bytes."""

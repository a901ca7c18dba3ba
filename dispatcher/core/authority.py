"""Hosts and ports as they are written: an IPv6 address stands in brackets (RFC 3986, 3.2.2)."""

from __future__ import annotations


def bracketed(host: str) -> str:
    """Write a host name or an address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def authority(host: str, port: int) -> str:
    """Write `host:port`."""
    return f"{bracketed(host)}:{port}"

"""What comes to the API and is no request of it: refused in the one shape that errors have."""

from __future__ import annotations

import asyncio
import json

import pytest

from dispatcher.testing.api import ApiBench

CANCEL = (
    b"POST /v1/messages/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)
STATS = b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "slug", "says"),
    [
        (b"GARBAGE\r\n\r\n", 400, "request_invalid", "METHOD /path HTTP/1.1"),
        (b"G@T / HTTP/1.1\r\n\r\n", 400, "request_invalid", "method"),
        (b"GET /v1/stats HTTP/3.9\r\n\r\n", 400, "request_invalid", "METHOD /path HTTP/1.1"),
        (b"GET /v1/stats HTTP/1.1\r\n\r\n", 400, "request_invalid", "Host"),
        (STATS + b"Bad Header: secret\r\n\r\n", 400, "request_invalid", "eader"),
        (STATS + b"X: secret\0\r\n\r\n", 400, "request_invalid", "eader"),
        (CANCEL + b"Content-Length: secret\r\n\r\n", 400, "request_invalid", "Content-Length"),
        (STATS + b"X: " + b"secret" * 2000 + b"\r\n\r\n", 431, "head_too_large", "8190"),
        (b"GET /" + b"secret" * 2000 + b" HTTP/1.1\r\n\r\n", 431, "head_too_large", "8190"),
        (b"\x16\x03\x01\x00\xc8\x01" + bytes(50), 400, "tls_unexpected", "API_TLS_CERT"),
        (b"GET /v1/stats\r\nHost: localhost\r\n\r\n", 505, "version_unsupported", "HTTP/1.1"),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found", "/openapi.json"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found", "that target"),
        (b"PUT /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed", "GET"),
        (
            CANCEL + b"Content-Length: 99000000\r\n\r\n",
            *(413, "body_too_large", "send several"),
        ),
    ],
)
async def test_what_is_no_request_is_refused_with_what_to_do(
    sent: bytes, status: int, slug: str, says: str
) -> None:
    """As JSON, whoever found it; nothing of what was sent is repeated, nor what the server is made
    of."""
    async with ApiBench() as api:
        reader, writer = await asyncio.open_connection(*api.address)
        writer.write(sent)
        async with asyncio.timeout(60):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in head.splitlines() if line.startswith("content-length:"))
            said = json.loads(await reader.readexactly(int(length.partition(":")[2])))
        writer.close()
        assert int(head.split()[1]) == status
        assert "content-type: application/json" in head
        assert "x-content-type-options: nosniff" in head
        assert "aiohttp" not in head
        assert said["error"] == slug
        assert says in said["message"]
        assert "secret" not in said["message"]
        assert said["message"].endswith(".")

"""What every call has in common: bodies, headers, and who may ask."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from dispatcher.api.guard import is_own, is_same
from dispatcher.api.reading import MAX_BODY_BYTES
from dispatcher.testing.admin import letter, message_id
from dispatcher.testing.api import ApiBench

PURGE = "/v1/dead-letters/purge"
JSON = {"Content-Type": "application/json"}
KEYS = (b"first-key",)
_decompressobj = zlib.decompressobj


@pytest.fixture
async def api() -> AsyncIterator[ApiBench]:
    """An API without keys, with one dead letter."""
    async with ApiBench() as bench:
        bench.admin.bury(letter(1))
        yield bench


@pytest.fixture
async def locked() -> AsyncIterator[ApiBench]:
    """An API with keys, with one dead letter."""
    async with ApiBench(KEYS) as bench:
        bench.admin.bury(letter(1))
        yield bench


async def raw(api: ApiBench, sent: bytes) -> tuple[int, dict[str, object]]:
    """Send bytes and read until the end: status and document of the answer, 0 without one."""
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(sent)
    if b"POST" in sent:
        writer.write_eof()  # there is no more of the body
    async with asyncio.timeout(60):
        received = await reader.read()
    writer.close()
    await writer.wait_closed()
    if not received:
        return 0, {}
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(("key", "status"), [(KEYS[0], 417), (b"wrong", 401)])
async def test_expectation_nobody_knows_is_refused_like_everything_else(
    locked: ApiBench, key: bytes, status: int
) -> None:
    """After the key, and in the shape of all errors."""
    lines = (b"Expect: x", b"Authorization: Bearer " + key, b"Connection: close")
    sent = b"\r\n".join((b"GET /v1/stats HTTP/1.1", b"Host: a", *lines, b"", b""))
    answer = await raw(locked, sent)
    slugs = {417: "expectation_failed", 401: "key_invalid"}
    assert (answer[0], answer[1]["error"]) == (status, slugs[status])


@pytest.mark.parametrize(("key", "status"), [(KEYS[0], 100), (b"wrong", 401)])
async def test_body_is_asked_for_when_its_key_is_right(
    locked: ApiBench, key: bytes, status: int
) -> None:
    """`Expect: 100-continue`, which curl sends with large bodies."""
    reader, writer = await asyncio.open_connection(*locked.address)
    lines = (b"Expect: 100-continue", b"Authorization: Bearer " + key, b"Content-Length: 12")
    kind = b"Content-Type: application/json"
    start = b"POST /v1/dead-letters/purge HTTP/1.1"
    writer.write(b"\r\n".join((start, b"Host: a", kind, *lines, b"", b"")))
    async with asyncio.timeout(60):
        assert (await reader.readline()).split()[1] == b"%d" % status
        if status == 100:
            await reader.readline()
            writer.write(b'{"all":true}')
            assert (await reader.readline()).split()[1] == b"200"
    writer.close()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}{}",
        b"all=true",
        b'{"all": true, "all": true}',
        b'{"all": true, "rate": NaN}',
        b'{"all": true, "rate": -Infinity}',
        b"\xff\xfe{\x00}\x00",
        b'{"all": tru\xe9}',
        b"[" * 100_000,
        b'{"all": ' + b"9" * 5_000 + b"}",
        b'{"\\ud800": 1}',
        b'{"destination": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"null",
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_body_answers_400_when_it_is_not_one_json_object(api: ApiBench, body: bytes) -> None:
    """Twice the same field and what only Python reads as JSON are none either."""
    status, slug = await api.error(PURGE, "POST", JSON, body=body)
    assert (status, slug) in {(400, "body_invalid"), (400, "destination_invalid")}
    assert len(api.admin.dead) == 1
    assert api.lines == []


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/json-seq", "*/*"],
)  # fmt: skip
async def test_body_answers_415_when_it_is_not_said_to_be_json(
    api: ApiBench, content_type: str
) -> None:
    """A form of a web page is never taken for a command."""
    headers = {"Content-Type": content_type}
    error = await api.error(PURGE, "POST", headers, body=b'{"all": true}')
    assert error == (415, "content_type_invalid")
    assert len(api.admin.dead) == 1


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON;charset=utf-8"])
async def test_body_is_read_when_it_is_said_to_be_json(api: ApiBench, content_type: str) -> None:
    """In any case, with parameters."""
    headers = {"Content-Type": content_type}
    assert (await api.ask(PURGE, "POST", headers, body=b'{"all": true}'))[0] == 200


async def test_body_answers_413_when_it_is_too_large(api: ApiBench) -> None:
    """One byte more than 1 MiB; exactly that is taken."""
    for size, expected in ((MAX_BODY_BYTES, 200), (MAX_BODY_BYTES + 1, 413)):
        body = b'{"all": true}'.ljust(size)
        assert (await api.ask(PURGE, "POST", JSON, body=body))[0] == expected
    assert await api.error(PURGE, "POST", JSON, body=body) == (413, "body_too_large")


async def test_body_answers_413_when_it_is_too_large_once_it_is_unpacked(api: ApiBench) -> None:
    """A small body can be a large one."""
    body = gzip.compress(b'{"all": true}'.ljust(MAX_BODY_BYTES * 20))
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert await api.error(PURGE, "POST", headers, body=body) == (413, "body_too_large")


class Unpacking:
    """What `zlib.decompressobj` makes; `size_bytes` is what all of them gave so far."""

    size_bytes = 0

    def __init__(self, wbits: int = zlib.MAX_WBITS) -> None:
        self._inner = _decompressobj(wbits)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def decompress(self, data: bytes, max_length: int = 0) -> bytes:
        found = self._inner.decompress(data, max_length)
        Unpacking.size_bytes += len(found)
        return found


async def test_body_that_is_refused_is_not_unpacked(
    api: ApiBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte may be a gigabyte: nobody else would have the loop for seconds, also behind the
    back of who has his answer already, and for strangers."""
    monkeypatch.setattr(zlib, "decompressobj", Unpacking)
    monkeypatch.setattr(Unpacking, "size_bytes", 0)
    deflating = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    head = deflating.compress(b" ") + deflating.flush(zlib.Z_FULL_FLUSH)
    block = deflating.compress(bytes(1 << 24)) + deflating.flush(zlib.Z_FULL_FLUSH)
    packed = head + block * 64
    assert len(packed) < 1_200_000
    headers = {**JSON, "Content-Encoding": "gzip"}
    async with ApiBench((b"key",)) as closed:
        for one, shows, expected in (
            (api, {}, (413, "body_too_large")),
            (closed, {}, (401, "key_invalid")),
            (closed, {"Authorization": "Bearer key"}, (413, "body_too_large")),
        ):
            assert await one.error(PURGE, "POST", {**headers, **shows}, body=packed) == expected
            await asyncio.sleep(0.3)  # what is done behind his back has its chance
    assert MAX_BODY_BYTES < Unpacking.size_bytes < 3 * MAX_BODY_BYTES


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_body_is_unpacked(api: ApiBench, pack: Callable[[bytes], bytes]) -> None:
    """Also in streams that follow one another; not when it is cut short, and not when something
    else follows."""
    coding = "gzip" if pack is gzip.compress else "deflate"
    headers = {**JSON, "Content-Encoding": coding}
    body = b'{"all": true}'.ljust(300_000)
    whole = pack(body)
    for good in (whole, pack(body[:5]) + pack(body[5:])):
        assert (await api.ask(PURGE, "POST", headers, body=good))[0] == 200
    for bad in (whole[:-1], whole + b"more", b"\x1f"):
        assert await api.error(PURGE, "POST", headers, body=bad) == (400, "body_invalid")


async def test_body_answers_400_when_its_coding_is_not_known(api: ApiBench) -> None:
    """And says which one is."""
    headers = {**JSON, "Content-Encoding": "br"}
    status, _, text = await api.ask(PURGE, "POST", headers, body=b"{}")
    assert (status, "gzip" in text) == (400, True)


async def test_body_answers_400_when_its_coding_is_wrong(api: ApiBench) -> None:
    """It is the caller's error: no traceback."""
    headers = {**JSON, "Content-Encoding": "gzip"}
    assert (await api.error(PURGE, "POST", headers, body=b"no gzip"))[0] == 400
    assert api.lines == []


async def test_body_that_is_cut_short_is_not_logged(api: ApiBench) -> None:
    """Strangers must not be able to fill the log."""
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % (
        PURGE.encode()
    )
    await raw(api, head + b'Content-Length: 99\r\n\r\n{"all": true}')
    await raw(api, head + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n{"all": true}')
    assert (await api.ask("/healthz"))[0] == 200
    assert len(api.admin.dead) == 1
    assert api.lines == []


async def test_body_of_a_get_is_ignored(api: ApiBench) -> None:
    """It has no meaning (RFC 9110, 9.3.1)."""
    assert (await api.ask("/v1/stats", body=b"not JSON"))[0] == 200


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (f"/v1/dead-letters/{message_id(1)}/redrive", "POST"),
        (f"/v1/dead-letters/{message_id(1)}", "DELETE"),
        (f"/v1/messages/{message_id(1)}", "DELETE"),
        ("/v1/destinations/a/pause", "POST"),
    ],
)
async def test_call_without_fields_takes_an_empty_object_only(
    api: ApiBench, path: str, method: str
) -> None:
    """A field that is not known is an error here too."""
    error = await api.error(path, method, send={"dry_run": True})
    assert error == (400, "body_invalid")
    assert await api.error(path + "?dry_run=1", method) == (400, "parameter_unknown")
    assert len(api.admin.dead) == 1
    assert (await api.ask(path, method, send={}))[0] in {200, 202, 204, 409}


@pytest.mark.parametrize("path", ["/healthz", "/v1/stats", "/v1/nothing", "/openapi.json"])
async def test_every_answer_forbids_guessing_its_type_and_sharing_it(
    api: ApiBench, path: str
) -> None:
    """And what is under /v1 is not kept by anybody; errors too."""
    _, headers, _ = await api.ask(path, headers={"Origin": api.url})
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers.get("Cache-Control") == ("no-store" if path.startswith("/v1/") else None)
    assert not [name for name in headers if name.startswith("Access-Control-")]


@pytest.mark.parametrize("path", ["/v1/stats", "/v1/events", "/openapi.json", "/v1/other"])
async def test_every_call_needs_a_key_when_keys_are_set(locked: ApiBench, path: str) -> None:
    """Before anything is said about what is there."""
    assert await locked.error(path) == (401, "key_invalid")
    assert await locked.error(path + "?unknown=1") == (401, "key_invalid")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "", "x"])
async def test_page_of_another_site_is_refused_when_there_are_no_keys(
    api: ApiBench, origin: str
) -> None:
    """The browser of the operator is on the same machine."""
    error = await api.error(PURGE, "POST", {"Origin": origin}, send={"all": True})
    assert error == (403, "origin_refused")
    assert len(api.admin.dead) == 1


async def test_own_page_is_let_in(api: ApiBench) -> None:
    """The dashboard is one."""
    answer = await api.ask(PURGE, "POST", {"Origin": api.url}, send={"all": True})
    assert answer[0] == 200


async def test_part_of_a_page_of_another_site_is_refused_but_a_link_works(api: ApiBench) -> None:
    """An image has no `Origin`; what browsers say of it instead (Fetch Metadata) is enough."""
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert await api.error("/v1/events", headers=image) == (403, "origin_refused")
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await api.ask("/v1/stats", headers=link))[0] == 200
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert (await api.ask("/v1/stats", headers=own))[0] == 200


async def test_name_that_was_made_to_mean_this_machine_is_refused(api: ApiBench) -> None:
    """DNS rebinding: the page's own name resolves to 127.0.0.1 now, so that Origin is right."""
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert await api.error("/v1/stats", headers=headers) == (403, "host_refused")
    assert await api.error("/openapi.json", headers=headers) == (403, "host_refused")
    assert (await api.ask("/healthz", headers=headers))[0] == 200


async def test_any_host_and_page_is_let_in_when_it_has_a_key(locked: ApiBench) -> None:
    """A proxy may have another name, and a page that knows a key was given it."""
    headers = {"Host": "api.example", "Origin": "http://x", "Authorization": "Bearer first-key"}
    assert (await locked.ask("/v1/stats", headers=headers))[0] == 200


async def test_request_without_host_is_let_in(api: ApiBench) -> None:
    """HTTP/1.0, which no browser speaks."""
    assert (await raw(api, b"GET /v1/stats HTTP/1.0\r\n\r\n"))[0] == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST:8081", True),
        ("localhost.:1", True),
        ("127.0.0.1:8081", True),
        ("127.9.8.7", True),
        ("[::1]:8081", True),
        ("own.example:1", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example@localhost", False),
        ("192.168.0.1", True),
        ("dispatcher:8081", True),
        ("app.localhost", True),
        ("[::", False),
    ],
)
def test_host_is_own_when_it_can_mean_nothing_else(host: str, expected: bool) -> None:
    """Addresses, names that no stranger can have, and what is listened on."""
    assert is_own(host, "Own.example") is expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8081", True),
        ("https://LOCALHOST:8081", True),
        ("http://localhost", False),
        ("http://localhost:80810", False),
        ("null", False),
        ("//localhost:8081", True),
        ("http://[", False),
    ],
)
def test_origin_is_same_when_host_and_port_are(origin: str, expected: bool) -> None:
    """A page on another port is another site."""
    assert is_same(origin, ["localhost:8081"]) is expected
    assert not is_same(origin, [])

"""Messages of streams of every version are read for ever."""

from __future__ import annotations

import json
from pathlib import Path

from dispatcher.txlog.nats.batch import (
    RECORD_HEADER_BYTES,
    Batch,
    Fence,
    decode,
    position_of,
    record_in,
    records_of,
)

V1 = json.loads((Path(__file__).parent / "streams_v1.json").read_text(encoding="utf-8"))


def test_fence_of_version_1_is_read() -> None:
    """Whose it is, for which epoch."""
    kept = V1["fence"]
    found = decode(bytes.fromhex(kept["data"]))
    assert found == Fence(kept["token"], kept["epoch"], kept["owner"])


def test_batches_of_version_1_are_read() -> None:
    """Every record, as a whole and by itself, with its position."""
    for kept in V1["batches"]:
        data = bytes.fromhex(kept["data"])
        payloads = [bytes.fromhex(payload) for payload in kept["payloads"]]
        found = decode(data)
        assert isinstance(found, Batch)
        assert (found.token, found.number) == (kept["token"], kept["number"])
        positions = [position_of(9, offset) for offset in kept["offsets"]]
        assert list(records_of(9, found, data)) == list(zip(positions, payloads, strict=True))
        assert [begin - RECORD_HEADER_BYTES for begin in found.begins] == kept["offsets"]
        for offset, payload in zip(kept["offsets"], payloads, strict=True):
            assert record_in(data, offset, offset) == payload

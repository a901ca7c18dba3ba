"""The decisions of the engine in streams: bytes, answers, whose message it is, servers that are
refused, the copy on this machine."""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dispatcher.txlog
from dispatcher.queue.pending.extents import Extents
from dispatcher.txlog.nats.answers import Whose, Word, whose, word_of
from dispatcher.txlog.nats.batch import (
    Batch,
    Fence,
    decode,
    encode_batch,
    encode_fence,
    offset_of,
    position_of,
    record_in,
    records_of,
    sequence_of,
)
from dispatcher.txlog.nats.chain import Chain
from dispatcher.txlog.nats.checks import configuration, wrong_in, wrong_with_server
from dispatcher.txlog.nats.mirror import Mirror
from dispatcher.txlog.nats.sizes import KEPT_WITH_IT, Sizes

FORMAT = (Path(dispatcher.txlog.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
TOKEN = 0x6E656B6F74
PAYLOADS = st.lists(st.binary(max_size=300), max_size=30)


def example(name: str) -> bytes:
    """The bytes of a block of the documentation's example."""
    match = re.search(rf"^```{name}\n(.*?)^```", FORMAT, re.MULTILINE | re.DOTALL)
    assert match is not None
    return bytes.fromhex(match[1])


def test_messages_are_as_documented() -> None:
    """What the code writes is what the page says, and is read back."""
    fence = Fence(TOKEN, 3, "node")
    assert encode_fence(fence) == example("stream-fence")
    assert decode(example("stream-fence")) == fence
    data, offsets = encode_batch(TOKEN, 1, [b"hello", b""])
    assert data == example("stream-batch")
    for offset in offsets:
        assert f"{position_of(2, offset):#x}" in FORMAT


@given(PAYLOADS, st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1), st.integers(1, 2**44 - 1))
def test_batch_comes_back_with_positions_that_grow(
    payloads: list[bytes], token: int, number: int, sequence: int
) -> None:
    """Records, token and number, whatever they are; positions of later messages are greater."""
    data, offsets = encode_batch(token, number, payloads)
    found = decode(data)
    assert isinstance(found, Batch)
    assert (found.token, found.number) == (token, number)
    records = list(records_of(sequence, found, data))
    assert [payload for _, payload in records] == payloads
    positions = [position for position, _ in records]
    assert positions == [position_of(sequence, offset) for offset in offsets]
    assert positions == sorted(set(positions))
    assert all(position < position_of(sequence + 1, 0) for position in positions)
    assert [(sequence_of(one), offset_of(one)) for one in positions] == [
        (sequence, offset) for offset in offsets
    ]


@given(PAYLOADS.filter(bool), st.data())
def test_damaged_message_is_recognised(payloads: list[bytes], draw: st.DataObject) -> None:
    """One byte that is different, or a message that is cut short."""
    data, _ = encode_batch(7, 1, payloads)
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:at] + bytes([data[at] ^ draw.draw(st.integers(1, 255))]) + data[at + 1 :]
    assert isinstance(decode(changed), str)
    assert isinstance(decode(data[:at]), str)


@given(PAYLOADS.filter(bool), st.data())
def test_record_is_one_at_its_own_place_only(payloads: list[bytes], draw: st.DataObject) -> None:
    """Also where a payload holds the bytes of a record."""
    inner, inner_offsets = encode_batch(7, 1, payloads)
    data, (offset,) = encode_batch(7, 2, [inner])
    assert record_in(data, offset, offset) == inner
    inside = draw.draw(st.sampled_from(inner_offsets))
    at = offset + 8 + inside
    assert record_in(data, at, at) is None


def ack(**fields: object) -> bytes:
    """An answer of JetStream."""
    return json.dumps(fields).encode()


def refusal(code: int, description: str = "") -> bytes:
    """An answer that reports an error; it holds a number too."""
    return ack(
        error={"code": 400, "err_code": code, "description": description}, stream="log", seq=0
    )


@pytest.mark.parametrize(
    ("answer", "first_try", "later_try"),
    [
        (ack(stream="log", seq=5), Word.STORED, Word.STORED),
        (ack(stream="log", seq=6), Word.ELSEWHERE, Word.ELSEWHERE),
        (refusal(10071), Word.LOOK, Word.LOOK),
        (refusal(10164), Word.LOOK, Word.LOOK),
        (refusal(10070), Word.LOOK, Word.LOOK),
        (refusal(10023), Word.FULL, Word.LOOK),
        (refusal(10077, "maximum bytes exceeded"), Word.FULL, Word.LOOK),
        (refusal(10077, "input/output error"), Word.AGAIN, Word.AGAIN),
        (refusal(10008), Word.AGAIN, Word.AGAIN),
        (ack(stream="log"), Word.AGAIN, Word.AGAIN),
        (b"", Word.AGAIN, Word.AGAIN),
    ],
)
def test_answer_to_a_publish_is_what_the_table_says(
    answer: bytes, first_try: Word, later_try: Word
) -> None:
    """An error that holds a number is an error. That there is no space says nothing of an earlier
    try of the same batch."""
    assert word_of(answer, 5, is_first_try=True) is first_try
    assert word_of(answer, 5, is_first_try=False) is later_try
    assert word_of(refusal(10071), 0, is_first_try=True) is Word.LOOK


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, Whose.NOBODYS),
        ("its checksum does not fit", Whose.DAMAGED),
        (Batch(1, 4, [], []), Whose.OURS),
        (Batch(1, 3, [], []), Whose.DAMAGED),
        (Batch(2, 4, [], []), Whose.ANOTHERS),
        (Fence(1, 9, "us"), Whose.OUR_FENCE),
        (Fence(2, 10, "next"), Whose.ANOTHERS),
        (Fence(2, 9, "same epoch"), Whose.ANOTHERS),
        (Fence(2, 8, "before"), Whose.LATE_FENCE),
    ],
)
def test_message_in_the_place_of_ours_is_whose_the_table_says(
    found: Batch | Fence | str | None, expected: Whose
) -> None:
    """By token, number and epoch."""
    assert whose(found, sent=Batch(1, 4, [], []), epoch=9, token=1) is expected


def test_fence_that_was_to_be_stored_is_ours() -> None:
    """And so is one of the same token that came late: it says the same."""
    fence = Fence(1, 9, "us")
    assert whose(fence, sent=fence, epoch=9, token=1) is Whose.OURS


@pytest.mark.parametrize(
    ("messages", "is_whole"),
    [
        ([Fence(1, 1, ""), Batch(1, 1, [], []), Batch(1, 2, [], [])], True),
        ([Batch(1, 7, [], []), Batch(1, 8, [], []), Fence(2, 2, ""), Batch(2, 1, [], [])], True),
        ([Batch(1, 7, [], []), Fence(1, 1, ""), Batch(1, 8, [], [])], True),
        ([Fence(1, 1, ""), Batch(1, 1, [], []), Batch(1, 3, [], [])], False),
        ([Fence(1, 1, ""), Batch(1, 1, [], []), Batch(1, 1, [], [])], False),
        ([Fence(1, 1, ""), Fence(2, 2, ""), Batch(1, 1, [], [])], False),
    ],
)
def test_chain_has_no_gap_and_no_stale_owner(messages: list[Batch | Fence], is_whole: bool) -> None:
    """What JetStream promised is looked at once more when a log is opened."""
    chain = Chain()
    assert (not [wrong for one in messages if (wrong := chain.wrong(one))]) is is_whole


VARZ = {
    "server_name": "n1",
    "version": "2.15.1",
    "max_payload": 8 << 20,
    "jetstream": {"config": {"sync_always": True, "sync_interval": 120_000_000_000}},
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"jetstream": {"config": {"sync_interval": 120_000_000_000}}}, "sync_interval: always"),
        ({"jetstream": {}}, "has no JetStream"),
        ({"version": "2.10.29"}, "2.11"),
        ({"max_payload": 1 << 16}, "max_payload"),
    ],
)
def test_server_that_cannot_keep_logs_is_refused(
    changed: dict[str, object], said: str | None
) -> None:
    """With the setting that has to be changed, and the server's name."""
    wrong = wrong_with_server({**VARZ, **changed})
    assert (wrong is None) if said is None else (wrong is not None and said in wrong)
    assert wrong is None or "n1" in wrong


@pytest.mark.parametrize(
    "changed",
    [
        {"num_replicas": 1},
        {"max_age": 1},
        {"discard": "old"},
        {"deny_delete": False},
        {"allow_direct": False},
        {"storage": "memory"},
        {"subjects": ["log.>"]},
        {"sources": [{"name": "other"}]},
    ],
)
def test_stream_that_could_lose_records_is_refused(changed: dict[str, object]) -> None:
    """With the setting that says so; the quota may be another one."""
    wanted = configuration("log", ["log.d", "log.e"], replicas=3, max_bytes=1000)
    assert wrong_in({**wanted, "max_bytes": 2000}, wanted) is None
    wrong = wrong_in({**wanted, **changed}, wanted)
    assert wrong is not None
    assert next(iter(changed)) in wrong


def test_mirror_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """Over pieces, gaps and trims; what it does not have is None, and no file is ever seen."""
    mirror = Mirror(tmp_path, piece_bytes=10_000)
    kept: dict[int, bytes] = {}
    for sequence in range(3, 200):
        payload = b"%d" % sequence * (sequence % 40 * 30)
        data, (offset,) = encode_batch(1, sequence, [payload])
        if sequence % 7:
            mirror.put(sequence, data)
            kept[position_of(sequence, offset)] = payload
    assert mirror.records(list(kept)) == list(kept.values())
    assert mirror.records([position_of(7, 25), position_of(2, 25), position_of(999, 25)]) == [
        None,
        None,
        None,
    ]
    assert mirror.records([position + 1 for position in kept if kept[position]][:1]) == [None]
    whole = mirror.message(100)
    assert whole is not None
    assert decode(whole) == decode(encode_batch(1, 100, [kept[position_of(100, 25)]])[0])
    mirror.drop_before(150)
    later = [position for position in kept if sequence_of(position) >= 150]
    assert mirror.records(later) == [kept[position] for position in later]
    assert mirror.records([min(kept)]) == [None]
    assert list(tmp_path.iterdir()) == []
    mirror.close()
    mirror.close()


def test_mirror_without_space_has_less_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never fails: what it lacks is read from the servers."""
    mirror = Mirror(tmp_path)
    data, (offset,) = encode_batch(1, 1, [b"a"])
    mirror.put(1, data)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        mirror.put(2, data)
    mirror.put(3, data)
    positions = [position_of(sequence, offset) for sequence in (1, 2, 3)]
    assert mirror.records(positions) == [b"a", None, b"a"]
    assert mirror.trouble is not None
    assert mirror.trouble.errno == errno.ENOSPC
    mirror.close()


def test_sizes_are_kept_without_asking() -> None:
    """Of what is there, of a part of it, and behind which message so much is freed."""
    sizes = Sizes(10)
    for number in range(5):
        sizes.add(1000 * number)
    assert sizes.total_bytes == 10_000 + 5 * KEPT_WITH_IT
    assert sizes.between(11, 13) == 3000 + 2 * KEPT_WITH_IT
    assert sizes.after(1) == 11
    assert sizes.after(1 << 20) is None
    sizes.drop_before(12)
    sizes.drop_before(11)
    assert (sizes.first, len(sizes)) == (12, 3)
    assert sizes.total_bytes == 9000 + 3 * KEPT_WITH_IT


def test_positions_of_many_batches_are_found_in_the_extents_of_a_queue() -> None:
    """They are 2^20 apart at least, and an extent counts in 32 bits."""
    extents = Extents()
    positions = [position_of(1000 + number, 25) for number in range(70_000)]
    for slot, position in enumerate(positions):
        extents.put(position, slot, 100)
    assert len(extents) > 70_000 // 4096
    for slot in range(0, 70_000, 997):
        assert extents.find(positions[slot]) == slot
        assert extents.find(positions[slot] + 1) == -1


def test_server_of_files_imports_no_client() -> None:
    """nats-py is an extra: whoever does not need it does not have it."""
    code = (
        "import sys, dispatcher.node.server, dispatcher.txlog.nats.log;"
        "sys.exit('nats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

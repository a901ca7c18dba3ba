"""Files of the first Dispatcher, in Go's own encoding, are read for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.cli.carrying.first_dispatcher import NotFirstDispatchers, read_log

_GOLDEN = Path(__file__).parent / "first_dispatcher"
_LOG = (_GOLDEN / "transaction.log").read_bytes()
_DEAD = (_GOLDEN / "deadletter.log").read_bytes()


def test_transaction_log_gives_what_has_not_ended() -> None:
    """Of four messages one was delivered, one given up; of the one that was tried again the state
    after that counts."""
    contents = read_log(_LOG)
    assert (contents.is_dead, contents.torn_bytes) == (False, 0)
    again, last = (contents.message(number) for number in range(len(contents)))
    assert again.url == "https://example.test/a%2Fb"
    assert again.method == "PUT"
    assert sorted(again.headers) == [("X-Empty", ""), ("X-Two", "a"), ("X-Two", "b")]
    assert again.body == bytes(number % 256 for number in range(300))
    assert (again.retries, again.timeout_ms) == (1, 0)
    assert again.error == 'Put "https://example.test/a%2Fb": timeout'
    assert (last.url, last.method, last.headers, last.body) == ("http://[::1]:81/", "GET", [], b"")


def test_messages_have_ids_that_stay() -> None:
    """Importing a file again finds them; those of another file are others."""
    contents = read_log(_LOG)
    ids = [contents.id(number) for number in range(len(contents))]
    assert len(set(ids)) == len(ids) == 2
    assert [read_log(_LOG).id(number) for number in range(2)] == ids
    dead = read_log(_DEAD)
    assert {dead.id(number) for number in range(len(dead))}.isdisjoint(ids)


def test_dead_letters_are_read_in_order() -> None:
    """With their errors; large and negative numbers do not disturb."""
    contents = read_log(_DEAD)
    first, second = (contents.message(number) for number in range(len(contents)))
    assert (first.url, first.body, first.retries) == ("localhost:9000/dead", b"first", 10)
    assert first.error == "500 Internal Server Error"
    assert (second.method, second.timeout_ms) == ("PATCH", 100)
    assert (contents.is_dead, contents.torn_bytes) == (True, 0)


def test_transaction_log_cut_anywhere_gives_the_whole_records_before() -> None:
    """A crash in the middle of a write loses the last record, which is said, and nothing else."""
    ends = [280, 841, 862, 1086, 1708, 1933, 1954]
    waiting = [1, 2, 1, 2, 2, 3, 2]
    for cut in range(1, len(_LOG)):
        before = [end for end in ends if end <= cut]
        if before:
            contents = read_log(_LOG[:cut])
            assert contents.torn_bytes == cut - before[-1]
            assert len(contents) == waiting[len(before) - 1]
        else:
            with pytest.raises(NotFirstDispatchers):
                read_log(_LOG[:cut])


def test_other_files_are_refused() -> None:
    """A log of today, a text, nothing but zeros."""
    for data in (b"DSPTXLOG" + bytes(5000), b"some text\n" * 100, bytes(4096)):
        with pytest.raises(NotFirstDispatchers):
            read_log(data)


def test_large_file_that_is_none_is_refused_soon() -> None:
    """Looking for an end at every byte, or following each series again from each of its records,
    would take minutes."""
    letters = b"".join(bytes(60) + (60).to_bytes(4, "little") for _ in range(20_000))
    for data in (
        b"\xef\xbb\xbf" + b'{"body": "aGVsbG8="}\n' * 500_000,
        bytes(1 << 20),
        b"!" + letters,
    ):
        with pytest.raises(NotFirstDispatchers):
            read_log(data)


def test_an_empty_file_holds_nothing() -> None:
    """The first Dispatcher made its files when it started."""
    assert len(read_log(b"")) == 0

"""Whatever bytes come, the reader of gobs gives a value or says that they are no gob."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cli.carrying.first_dispatcher import NotFirstDispatchers, read_log
from dispatcher.cli.carrying.gob import GobError, read_value
from dispatcher.cli.carrying.lines import Line, open_source

_GOLDEN = Path(__file__).parents[1] / "golden/first_dispatcher"
_LOG = (_GOLDEN / "transaction.log").read_bytes()
_DEAD = (_GOLDEN / "deadletter.log").read_bytes()
_GOB = _LOG[:267]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_no_gob(data: bytes) -> None:
    """Nothing but `GobError` is raised."""
    with suppress(GobError):
        read_value(data)


@given(st.data())
def test_a_gob_with_changed_bytes_is_a_value_or_no_gob(data: st.DataObject) -> None:
    """The same for what is nearly right."""
    changed = bytearray(_GOB)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(_GOB) - 1))] = data.draw(st.integers(0, 255))
    with suppress(GobError):
        read_value(bytes(changed))


@given(st.data())
def test_a_log_with_changed_bytes_is_read_or_refused(data: st.DataObject) -> None:
    """Every message of it is read or refused by itself."""
    changed = bytearray(_LOG)
    changed[data.draw(st.integers(0, len(_LOG) - 1))] = data.draw(st.integers(0, 255))
    with suppress(NotFirstDispatchers):
        contents = read_log(bytes(changed))
        for number in range(len(contents)):
            with suppress(GobError):
                contents.message(number)


def test_any_changed_byte_gives_lines_or_problems() -> None:
    """A field of another type too: the message is named, and the others are imported."""
    whole = lines_of(_DEAD)
    problems = set()
    _, size = read_log(_DEAD).spans[0]
    for place in range(size):
        for change in (1, 2, 4, 6, 8, 16, 32, 64, 128):  # 6 makes bytes of a string
            changed = bytearray(_DEAD)
            changed[place] ^= change
            first, *others = lines_of(bytes(changed))
            assert list(map(_without_id, others)) == list(map(_without_id, whole[1:]))
            assert first.problem or json.loads(first.data)
            problems.add(first.problem)
    assert "its Url is of another type" in problems


def lines_of(log: bytes) -> list[Line]:
    """What is made of a file."""
    return list(open_source(BytesIO(log), "old.log").lines)


def _without_id(line: Line) -> tuple[int, object]:
    """What a line says; its id says which file it is of, and that is another one."""
    return line.number, {**json.loads(line.data), "id": None}

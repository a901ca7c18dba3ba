"""Structured fields: read, written, and refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.protocol.structured import (
    Bare,
    InnerList,
    Item,
    StructuredInvalid,
    Token,
    inner_list_text,
    parse_dictionary,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("a", {"a": Item(True)}),
        ("a=1, b=-2", {"a": Item(1), "b": Item(-2)}),
        ('a="x\\"\\\\"', {"a": Item('x"\\')}),
        ("a=:AAEC:", {"a": Item(b"\0\1\2")}),
        ("a=:AA:", {"a": Item(b"\0")}),
        ("a=?0;p;q=tok/en", {"a": Item(False, {"p": True, "q": Token("tok/en")})}),
        ("a=()", {"a": InnerList(())}),
        ('a=( "x"  y;z );p=1', {"a": InnerList((Item("x"), Item("y", {"z": True})), {"p": 1})}),
        ("a=1,a=2", {"a": Item(2)}),
        ("a=1\t,\tb", {"a": Item(1), "b": Item(True)}),
    ],
)
def test_dictionary_is_read(text: str, expected: dict[str, Item | InnerList]) -> None:
    """All kinds of values that signatures use."""
    assert parse_dictionary(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A=1",
        "a=",
        "a=1,",
        "a=1 b=2",
        "a=1.5",
        "a=1234567890123456",
        'a="x',
        'a="\\x"',
        'a="ü"',
        "a=:A:",
        "a=:AA=A:",
        "a=:AA",
        "a=?2",
        "a=(1",
        "a=(1)(2)",
        'a=("x""y")',
        "a=1;",
        "a=1;P",
        "=1",
        ",",
    ],
)
def test_text_that_is_no_dictionary_is_refused(text: str) -> None:
    """With one kind of error."""
    with pytest.raises(StructuredInvalid, match="expected"):
        parse_dictionary(text)


@given(st.text() | st.text('a1=:"\\();,? -.', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Headers come from outside: no other error, and no hanging."""
    with contextlib.suppress(StructuredInvalid):
        parse_dictionary(text)


keys = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True)
bare: st.SearchStrategy[Bare] = st.one_of(
    st.booleans(),
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.binary(max_size=8),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8),
    st.from_regex(r"[A-Za-z*][a-zA-Z0-9:/*!-]{0,8}", fullmatch=True).map(Token),
)
params = st.dictionaries(keys, bare, max_size=3)
lists = st.builds(InnerList, st.lists(st.builds(Item, bare, params), max_size=4).map(tuple), params)


@given(lists)
def test_inner_list_is_read_as_it_was_written(inner: InnerList) -> None:
    """And a token stays one: it is written without quotes."""
    text = inner_list_text(inner)
    read = parse_dictionary(f"key={text}")["key"]
    assert read == inner
    assert isinstance(read, InnerList)
    assert inner_list_text(read) == text

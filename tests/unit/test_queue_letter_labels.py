"""Labels of dead letters in their index."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.queue.deadletters.letters import Letters
from dispatcher.queue.deadletters.selection import LetterFilter
from dispatcher.queue.records.ids import wire_id
from dispatcher.queue.records.letters import LetterFacts

LABELS = ("", "a", "b", "c")
MANY = 5000
"""More than are left alone when most of them are gone."""


def letter(n: int, label: str, dead_at: int = 0) -> LetterFacts:
    """The letter with this number, which dies at its second."""
    return LetterFacts(
        wire_id(0, 1, n), 0, 1, n, 0, dead_at or n + 1, b"http://a", 404, 0, "rejected", 5, None, n,
        label=label,
    )  # fmt: skip


def labelled(letters: Letters, label: str) -> set[bytes]:
    """The ids of the letters that are found by a label."""
    which = LetterFilter(label=label)
    return {letters.id(row) for row in letters.alive() if letters.fits(row, which)}


def check(letters: Letters, there: dict[int, str]) -> None:
    """Each letter is found by its label, and by no other."""
    for label in LABELS[1:]:
        assert labelled(letters, label) == {
            wire_id(0, 1, n) for n, own in there.items() if own == label
        }
    assert len(letters.labels) == len(set(there.values()) - {""})


@given(
    st.lists(st.one_of(st.sampled_from(LABELS), st.integers(0, 20)), max_size=60),
    st.booleans(),
)
def test_letter_is_found_by_its_label_while_it_is_there(
    steps: list[str | int], sorts: bool
) -> None:
    """Whether others have one or not, and whichever came first; a number takes a letter away."""
    letters = Letters()
    there: dict[int, str] = {}
    for n, step in enumerate(steps):
        if isinstance(step, str):
            letters.add(letter(n, step, 100 - n), n, 100)
            there[n] = step
        elif there:
            gone = list(there)[step % len(there)]
            letters.remove(wire_id(0, 1, gone))
            del there[gone]
        check(letters, there)
    if sorts:
        for _ in letters.sort():
            pass
        check(letters, there)
        letters.add(letter(1000, "a"), 1000, 100)
        check(letters, {**there, 1000: "a"})


def test_labels_move_with_their_rows() -> None:
    """When rows of removed letters are given back, and when all of them are."""
    letters = Letters()
    there = {n: "" if n < MANY // 2 else LABELS[n % 4] for n in range(MANY)}
    for n, label in there.items():
        letters.add(letter(n, label), n, 100)
    for kept in (7, MANY):
        for n in [n for n in there if n % kept or kept == MANY]:
            letters.remove(wire_id(0, 1, n))
            del there[n]
        for n in range(MANY) if kept == MANY else ():
            letters.add(letter(MANY + n, "b"), n, 100)
            letters.remove(wire_id(0, 1, MANY + n))
        while letters.tidy():
            pass
        check(letters, there)
    letters.add(letter(3 * MANY, "c"), 1, 100)
    check(letters, {3 * MANY: "c"})


def test_letters_without_labels_have_no_column_of_them() -> None:
    """They take as much as they would without labels."""
    letters = Letters()
    letters.add(letter(1, ""), 1, 100)
    assert len(letters._label) == 0
    assert letters.label(0) is None
